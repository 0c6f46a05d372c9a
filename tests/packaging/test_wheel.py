"""The wheel holds the package, all of it and nothing else."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sophia_jax

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checks():
    path = ROOT / "scripts" / "check_package.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A wheel and an sdist, built where nothing can be asked of an index."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source)
    for name in ("sophia_jax", "tests", "scripts"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", "dist"],
        cwd=source,
        env=os.environ | {"https_proxy": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = (source / "dist").glob("*.whl"), (source / "dist").glob("*.gz")
    return wheel, sdist


def test_the_wheel_is_whole_and_has_nothing_else(archives, checks):
    names = checks.members(archives[0])
    assert checks.problems(names, is_wheel=True) == []
    assert "sophia_jax/py.typed" in names
    assert any(name.endswith(".jinja") for name in names)
    assert any(name.endswith(".css") for name in names)


def test_the_sdist_can_build_what_the_wheel_is(archives, checks):
    assert checks.problems(checks.members(archives[1]), is_wheel=False) == []


def test_what_is_missing_or_foreign_is_found(archives, checks):
    names = checks.members(archives[0])
    names.remove("sophia_jax/py.typed")
    found = checks.problems([*names, "tests/test_x.py"], is_wheel=True)
    assert found == [
        "sophia_jax/py.typed: missing",
        "tests/test_x.py: should not be there",
    ]


def test_the_version_is_said_once(archives):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert archives[0].name.startswith(f"sophia_jax-{sophia_jax.__version__}-")
    said = [
        path
        for path in (ROOT / "sophia_jax").rglob("*.py")
        if re.search(r"^__version__ = ", path.read_text(), re.MULTILINE)
    ]
    assert said == [ROOT / "sophia_jax" / "__init__.py"]


def test_the_check_imports_every_package(checks):
    packages = {
        ".".join(path.parent.relative_to(ROOT / "sophia_jax").parts)
        for path in (ROOT / "sophia_jax").glob("**/__init__.py")
    }
    top = {name for name in packages if name and "." not in name}
    assert top <= set(checks.PACKAGES)
