"""Imports point down the layers only, and `import sophia_jax` loads nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sophia_jax

ROOT = Path(sophia_jax.__file__).parent
LAYERS = [
    {
        "presets",
        "types",
        "config",
        "tiles",
        "seeds",
        "completions",
        "paths",
        "line_files",
        "buckets",
        "preemption",
    },
    {"losses", "rewards", "inference_scaling", "average_reward", "sharding"},
    {"models", "data"},
    {"generation", "training"},
    {"rollouts", "evaluation", "planning"},
    {"sophia", "grpo"},
    {"recipes", "viz"},
    {"cli"},
    {"__main__"},
    {"__init__"},
]
LAYER = {name: layer for layer, names in enumerate(LAYERS) for name in names}
PURE = {"losses", "inference_scaling", "average_reward"}
PURE_IMPORTS = {"jax", "numpy", "scipy", "sophia_jax", *sys.stdlib_module_names}
HEAVY = (
    "torch",
    "transformers",
    "tensorflow",
    "tensorflow_datasets",
    "matplotlib",
    "sklearn",
    "math_verify",
    "orbax",
    "grain",
    "httpx2",
)


def package(path):
    """The package, or the module at the top, that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(source):
    """Every module that a source imports, also within functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            from_top = name == "sophia_jax"
            yield from (f"{name}.{a.name}" if from_top else name for a in node.names)


def violations(importer, source):
    """What a package may not import, in words."""
    for module in imported(source):
        top, _, rest = module.partition(".")
        target = rest.partition(".")[0]
        if not top:
            yield f"{importer} imports {module}: relative"
        if importer in PURE and top not in PURE_IMPORTS:
            yield f"{importer} imports {module}: not pure"
        if top != "sophia_jax":
            continue
        target = target if target in LAYER else "__init__"
        if target == importer:
            continue
        if importer in PURE and target != "types":
            yield f"{importer} imports {module}: not types"
        same_base = LAYER[target] == LAYER[importer] == 0  # modules, not packages
        if LAYER[target] >= LAYER[importer] and not same_base:
            yield f"{importer} imports {module}: not below it"


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_point_down_only(path):
    assert package(path) in LAYER, "not in the table of layers"
    assert list(violations(package(path), path.read_text())) == []


@pytest.mark.parametrize(
    ("importer", "source", "found"),
    [
        ("data", "def f():\n    from sophia_jax.models.model import Model", 1),
        ("models", "import sophia_jax.data.images", 1),
        ("rollouts", "from sophia_jax.evaluation import metrics", 1),
        ("training", "from sophia_jax import sophia", 1),
        ("training", "from sophia_jax import load_model", 1),
        ("rollouts", "from .store import ShardedTable", 1),
        ("types", "from sophia_jax.losses import sft_loss", 1),
        ("losses", "import optax", 1),
        ("losses", "from sophia_jax.config import TextConfig", 1),
        ("losses", "from sophia_jax.types import Array\nimport jax.numpy as jnp", 0),
        ("sophia", "from sophia_jax.rollouts import captions\nimport pyarrow", 0),
        ("seeds", "from sophia_jax.types import Item", 0),
        ("cli", "from sophia_jax import recipes, viz", 0),
        ("models", "from sophia_jax.models.layers import Linear", 0),
    ],
)
def test_the_walk_finds_what_it_should(importer, source, found):
    assert len(list(violations(importer, source))) == found


def test_the_walk_sees_the_whole_package():
    seen = {package(path) for path in ROOT.rglob("*.py")}
    assert {"types", "sophia", "rollouts", "models", "recipes", "losses"} <= seen


def test_importing_the_package_loads_nothing_heavy():
    program = "import json, sys, sophia_jax; print(json.dumps(list(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT.parent,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    loaded = set(json.loads(output))
    assert "sophia_jax" in loaded
    assert loaded.isdisjoint(HEAVY)
