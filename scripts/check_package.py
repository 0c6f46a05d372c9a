"""Build wheel and sdist, install each in an empty environment, and use what is there.

    python scripts/check_package.py                # wheel, sdist, wheel with extras
    python scripts/check_package.py --only extras  # of them viz, server and gym

Everything happens in a temporary folder; the package index is asked for what the
package needs, and an environment takes 1 to 2 GB while it is looked at. Ends with 1
where something is wrong.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = "viz,server,gym"
PACKAGES = [
    *("average_reward", "cli", "data", "evaluation", "generation"),
    *("inference_scaling", "inference_scaling.theory", "losses", "models", "planning"),
    *("recipes", "rewards", "rollouts", "sharding", "training", "viz"),
]
USED = """
import importlib, sys
from importlib.metadata import version
from importlib.resources import files
import sophia_jax
assert version("sophia-jax") == sophia_jax.__version__, version("sophia-jax")
assert "site-packages" in sophia_jax.__file__, sophia_jax.__file__
for name in sophia_jax.__all__:
    getattr(sophia_jax, name)
for name in sys.argv[1:]:
    importlib.import_module(f"sophia_jax.{name}")
assert files("sophia_jax").joinpath("py.typed").is_file()
print(len(sophia_jax.__all__), "names,", len(sys.argv) - 1, "packages")
"""
REGRET = (
    *("regret", "--quick", "--agents", "ucrl2", "--beds", "riverswim-6"),
    *("--num-steps", "200", "--seeds", "2", "--out", "runs"),
)


def members(archive: Path) -> list[str]:
    """Files of a wheel, or of an sdist without the folder that they are all in."""
    if archive.suffix == ".whl":
        return zipfile.ZipFile(archive).namelist()
    with tarfile.open(archive) as tar:
        names = [each.name for each in tar if each.isfile()]
    return [name.partition("/")[2] for name in names]


def problems(names: list[str], *, is_wheel: bool, root: Path = ROOT) -> list[str]:
    """What a distribution lacks, or holds and should not.

    Args:
      names: of its files.
      is_wheel: else it is an sdist.
      root: of the project.

    Returns:
      A line for each.
    """
    package = root / "sophia_jax"
    wanted = {
        str(path.relative_to(root))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if not is_wheel:
        wanted |= {"LICENSE", "README.md", "pyproject.toml"}
    found = [f"{name}: missing" for name in sorted(wanted - set(names))]
    if is_wheel and not any(name.endswith("licenses/LICENSE") for name in names):
        found.append("LICENSE: missing")
    allowed = ("sophia_jax/", "sophia_jax-") if is_wheel else ("",)
    foreign = [name for name in names if not name.startswith(allowed)]
    hidden = [name for name in names if name.startswith((".ci", ".venv", "dist/"))]
    return found + [f"{name}: should not be there" for name in foreign + hidden]


def call(*words: str | Path, cwd: Path, seconds: int = 1800) -> str:
    """Run a program away from the project; its output, or an end with all of it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        line = " ".join(str(word) for word in words)
        raise SystemExit(f"{line}\n{done.stdout}{done.stderr}exit {done.returncode}")
    return done.stdout


def environment(folder: Path, *requirements: str) -> Path:
    """A new environment with some requirements; its folder of programs."""
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    call(*pip, "--disable-pip-version-check", *requirements, cwd=folder)
    return folder / "bin"


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel, which is built from the sdist, and the sdist."""
    programs = environment(folder / "builder", "build")
    dist = folder / "dist"
    call(programs / "python", "-m", "build", "--outdir", dist, ROOT, cwd=folder)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, sdist


def use(requirement: str, folder: Path) -> None:
    """Install something in an empty environment, and do what a newcomer would."""
    start = time.perf_counter()
    programs = environment(folder / "venv", requirement)
    installed = time.perf_counter() - start
    command = programs / "sophia-jax"
    assert "quickstart" in call(command, "--help", cwd=folder)
    assert "quickstart" in call(
        programs / "python", "-m", "sophia_jax", "--help", cwd=folder
    )
    names = call(programs / "python", "-c", USED, *PACKAGES, cwd=folder).strip()
    said = call(command, *REGRET, cwd=folder)
    assert (folder / "runs" / "summary.json").is_file(), said
    page = folder / "runs" / "report.html"
    drawn = "a page" if page.is_file() else "no page"
    print(f"  installed in {installed:.0f} s; {names}; a run of regret, {drawn}")
    assert page.is_file() == ("[" in requirement), said


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("wheel", "sdist", "extras"))
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, sdist = build(folder)
        found = []
        for archive in (wheel, sdist):
            is_wheel = archive is wheel
            found += problems(members(archive), is_wheel=is_wheel)
            size = archive.stat().st_size / 1e6
            print(f"{archive.name}: {len(members(archive))} files, {size:.2f} MB")
        if found:
            print("\n".join(found), file=sys.stderr)
            return 1
        ways = {"wheel": f"{wheel}", "sdist": f"{sdist}"}
        ways["extras"] = f"{wheel}[{EXTRAS}]"
        for way, requirement in ways.items():
            if only in (None, way):
                print(way, flush=True)
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    use(requirement, Path(place))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
