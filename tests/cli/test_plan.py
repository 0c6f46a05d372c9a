"""`sophia-jax plan`: tables, files, and one line for what cannot be planned."""

import json

import pytest

from sophia_jax.cli.main import main
from sophia_jax.cli.meshes import AllMeshes
from sophia_jax.cli.plan import Plan
from sophia_jax.config import LoraConfig
from sophia_jax.planning.collectives import MeshShape

RUN_FILE = """
from sophia_jax.planning.run_plan import RunPlan

PLAN = RunPlan(policy="internvl3-8b", reasoner=None, slice="v6e-8", max_length=4096)
"""


def test_a_plan_is_shown_and_left_as_json_and_as_a_page(tmp_path, capsys):
    files = [str(tmp_path / name) for name in ("plan.json", "plan.html")]
    asked = ["--policy", "internvl3-8b", "--reasoner", "none", "--lora-rank", "8"]
    left = ["--json", files[0], "--html", files[1]]
    assert main(["plan", "--slice", "h100-1", "--once", *asked, *left]) == 0
    said = capsys.readouterr().out
    assert "slice      1 H100" in said and "policy update" in said
    assert max(map(len, said.partition("round  ")[0].splitlines())) <= 80
    found = json.loads((tmp_path / "plan.json").read_text())
    assert found["plan"]["lora"]["rank"] == 8
    assert (tmp_path / "plan.html").read_text().startswith("<!DOCTYPE html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "plan.html",
        "plan.json",
    ]


def test_options_go_before_the_run_file(tmp_path):
    file = tmp_path / "run.py"
    file.write_text(RUN_FILE)
    as_written = Plan(config=file).plan()
    assert (as_written.max_length, as_written.reasoner) == (4096, None)
    meshes = AllMeshes(update_mesh="fsdp=4,context=2")
    changed = Plan(config=file, meshes=meshes, lora_rank=4, slice="v6e:2x4").plan()
    assert changed.mesh == MeshShape(fsdp=4, context=2)
    assert (changed.max_length, changed.lora) == (4096, LoraConfig(rank=4))


def test_the_defaults_are_the_papers_size():
    plan = Plan(slice="v5p-128").plan()
    assert (plan.policy, plan.reasoner) == ("internvl3-38b", "qwq-32b")
    assert (plan.tiles, plan.max_length, plan.batch_size) == (13, 32768, 512)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "slice: expected --slice or --config, got neither"),
        (["--slice", "v5p-100"], "slice: expected v5p-8"),
        (["--slice", "h100", "--policy", "x"], "model: expected internvl2.5-8b"),
        (["--slice", "v6e-8", "--update-mesh", "fsdp=3"], "multiply to 8 of 8 chips"),
        (["--slice", "v6e-8", "--update-mesh", "rows=3"], "expected AXIS=SIZE"),
        (["--slice", "h100", "--lora-rank", "0"], "lora rank: expected > 0, got 0"),
        (["--slice", "h100", "--questions", "0"], "questions: expected > 0, got 0"),
        (["--config", "none.py"], "none.py: expected a run file, got none"),
        (["--slice", "h100", "--max-length", "500"], "expected more than the"),
    ],
)
def test_what_cannot_be_planned_is_one_line(arguments, said, capsys):
    assert main(["plan", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
