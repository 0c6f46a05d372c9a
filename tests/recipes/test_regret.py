"""A comparison by regret: who acts where, what it leaves, and what it claims."""

import dataclasses
import io
import json

import pytest
from rich.console import Console

from sophia_jax.cli.main import main
from sophia_jax.cli.regret import regret_table
from sophia_jax.recipes.regret import cells, run
from sophia_jax.recipes.regret.agents import AGENTS
from sophia_jax.recipes.regret.beds import BEDS, make_bed
from sophia_jax.recipes.regret.claims import check_claims, why_regret
from sophia_jax.recipes.regret.findings import compare_to_ucrl2, scale_words
from sophia_jax.recipes.regret.sizes import Cell, RegretConfig, quick_size
from sophia_jax.types import InputError

# --- who acts where ---


def test_coverage_is_counted_over_fifty_seeds_and_slow_agents_are_cut_short():
    sizes = {c.name: (c.num_steps, c.num_seeds) for c in RegretConfig().cells()}
    assert sizes["loop-tabular-theory@riverswim-6"] == (100_000, 50)
    assert sizes["ucrl2@linear-mixture"] == (100_000, 20)
    assert sizes["fopo@riverswim-6"] == (2_000, 3)
    assert "loop-mixture@riverswim-6" not in sizes
    told = RegretConfig(agents=("fopo", "ucrl2"), seeds=7, num_steps=500).cells()
    assert {(c.num_steps, c.num_seeds) for c in told} == {(500, 7)}
    assert quick_size(RegretConfig(seeds=4)).cells()[0].num_seeds == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agents": ("ucrl",)}, "--agents: expected some of loop-models, .*got ucrl"),
        ({"agents": ()}, "--agents: expected some of .*got none"),
        ({"agents": ("psrl", "psrl")}, "--agents: expected each once"),
        ({"beds": ("river",)}, "--beds: expected some of riverswim-6, .*got river"),
        ({"num_steps": 0}, "--num-steps: expected >= 1, got 0"),
        ({"seeds": 0}, "--seeds: expected >= 1, got 0"),
        (
            {"agents": ("loop-mixture",), "beds": ("riverswim-6",)},
            "act in riverswim-6, got loop-mixture, which needs a linear mixture",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        RegretConfig(**changes)


def test_every_agent_of_the_table_can_be_made_and_says_its_scale():
    bed = make_bed("linear-mixture")
    for name, entry in AGENTS.items():
        assert entry.make(bed, 1000, entry.factor).name
        words = scale_words(name)
        if name.endswith("-theory"):
            assert (words, entry.factor) == ("theoretical", 1.0)
        elif entry.scale == "tuned":
            assert words == f"tuned: {entry.factor:g} of the theory's"
        else:
            assert words.startswith("has no confidence set: ")
    for name in BEDS:
        assert 0 < make_bed(name).gain <= 1


# --- what is asked ---


def cell(**changes):
    """A summary of one LOOP's runs, in which all is well."""
    coverage = {"inside": 50, "num_runs": 50, "share": 1.0, "interval": (0.93, 1.0)}
    return {
        "agent": "loop-mixture",
        "bed": "linear-mixture",
        "family": "LOOP",
        "scale": "tuned",
        "num_steps": 100_000,
        "believed": 0.6,
        "slope": (0.4, (0.3, 0.5)),
        "switches_by_decade": [4.0, 12.6],
        "growth_of_switches": (0.1, (-0.1, 0.3)),
        "coverage": coverage,
    } | changes


def verdicts(*cells, comparisons=()):
    return {c["claim"].split()[0]: c for c in check_claims(cells, comparisons)}


def test_a_slope_is_asked_of_tuned_scales_and_coverage_of_the_theory_s():
    found = verdicts(cell())
    assert found.keys() == {"log-log", "switches"}
    assert {each["verdict"] for each in found.values()} == {"met"}
    found = verdicts(cell(scale="theory"))
    assert found.keys() == {"truth", "switches"}
    assert found["truth"]["found"] == "100% [93%, 100%]"


def test_what_is_missed_has_its_reason():
    steep = cell(slope=(0.9, (0.8, 1.0)), believed=0.7)
    missed = verdicts(steep)["log-log"]
    assert missed["verdict"] == "missed"
    assert (
        "still believes in a gain of 0.70, where 0.60 is the best" in missed["reason"]
    )
    few = {"inside": 47, "num_runs": 50, "share": 0.94, "interval": (0.84, 0.98)}
    missed = verdicts(cell(scale="theory", coverage=few))["truth"]
    assert missed["verdict"] == "missed"
    assert missed["reason"] == "the truth left the set in 3 of 50 runs"
    assert "keep a policy that is not the best" in why_regret(cell(coverage=few))
    missed = verdicts(cell(growth_of_switches=(0.5, (0.4, 0.6))))["switches"]
    assert missed["verdict"] == "missed"
    assert missed["reason"].startswith(
        "4.0 switches a run from T/100 to T/10, and 12.6"
    )
    assert missed["reason"].endswith("policies have only begun to fail")
    left = cell(growth_of_switches=(0.5, (0.4, 0.6)), coverage=few)
    assert "the best policy fails as well" in verdicts(left)["switches"]["reason"]


def test_too_small_a_run_tells_nothing():
    assert verdicts(cell(num_steps=5000))["log-log"]["verdict"] == "not told"
    few = {"inside": 5, "num_runs": 5, "share": 1.0, "interval": (0.57, 1.0)}
    told = verdicts(cell(scale="theory", coverage=few, growth_of_switches=None))
    assert {each["verdict"] for each in told.values()} == {"not told"}


def test_scales_are_compared_with_those_of_their_kind():
    def runs(agent, last, steps=100):
        regret = [[0.0, last - 1], [0.0, last], [0.0, last + 1]]
        place = {"agent": agent, "bed": "linear-mixture", "num_steps": steps}
        return place | {"pseudo_regret": regret}

    cells = [
        runs("loop-mixture", 10.0),
        runs("loop-mixture-theory", 99.0),
        runs("loop-tabular", 20.0, steps=50),
        runs("ucrl2", 20.0),
        runs("ucrl2-theory", 70.0),
    ]
    found = {each["agent"]: each for each in compare_to_ucrl2(cells)}
    assert found.keys() == {"loop-mixture", "loop-mixture-theory"}
    assert found["loop-mixture"]["difference"] == pytest.approx(-10)
    assert found["loop-mixture"]["verdict"] == "below"
    assert found["loop-mixture"]["structure"] == "a linear mixture"
    assert found["loop-mixture-theory"]["verdict"] == "above"
    told = verdicts(
        cell(), cell(agent="loop-mixture-theory"), comparisons=list(found.values())
    )["regret"]
    assert (told["agent"], told["verdict"]) == ("loop-mixture-theory", "missed")


# --- the run ---

SIZES = ["--num-steps", "150", "--seeds", "2"]
ACTING = ["ucrl2-theory", "uniform", "optimal"]
SMALL = ["regret", "--beds", "linear-mixture", *SIZES, "--agents", *ACTING]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A small run that was killed after one agent, and went on."""
    folder = tmp_path_factory.mktemp("regret") / "run"
    real, done = run.run_cell, []

    def dies(cell, num_records):
        if done:
            raise MemoryError("killed")
        done.append(cell.name)
        return real(cell, num_records)

    def counts(cell, num_records):
        done.append(cell.name)
        return real(cell, num_records)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "AT_ONCE", 1)
        patch.setattr(run, "run_cell", dies)
        codes = [main([*SMALL, "--out", str(folder)])]
        patch.setattr(run, "run_cell", counts)
        codes.append(main([*SMALL, "--out", str(folder), "--resume"]))
    return folder, codes, done


def test_a_killed_run_goes_on_where_it_was(killed):
    _, codes, done = killed
    assert codes == [1, 0]
    assert sorted(done) == [
        f"{agent}@linear-mixture" for agent in ("optimal", "ucrl2-theory", "uniform")
    ]


def test_a_result_of_another_scale_is_made_anew(killed, capsys, monkeypatch):
    folder, made = killed[0], []

    def runs(cell, num_records):
        made.append(cell.name)
        there = json.loads((folder / "cells" / f"{cell.name}.json").read_text())
        return there | {"defined_by": run.defined_by(cell, num_records)}

    monkeypatch.setattr(run, "run_cell", runs)
    entry = dataclasses.replace(AGENTS["ucrl2-theory"], factor=0.5)
    with monkeypatch.context() as patch:
        patch.setitem(AGENTS, "ucrl2-theory", entry)
        assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
        line = "again      ucrl2-theory in linear-mixture: factor was 1.0, is 0.5"
        assert line in capsys.readouterr().out
    assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
    assert "is 1.0" in capsys.readouterr().out
    assert main([*SMALL, "--out", str(folder), "--resume"]) == 0
    assert "again" not in capsys.readouterr().out
    assert made == ["ucrl2-theory@linear-mixture"] * 2


def test_the_last_digits_of_a_gain_are_the_processor_s(monkeypatch):
    cell, bed = Cell("optimal", "riverswim-6", 100, 1), make_bed("riverswim-6")
    here = run.defined_by(cell, 5)
    there = dataclasses.replace(bed, gain=bed.gain + 3e-15, span=bed.span - 2e-14)
    monkeypatch.setattr(cells, "make_bed", lambda name: there)
    assert run.defined_by(cell, 5) == here
    other = dataclasses.replace(bed, gain=bed.gain + 1e-6)
    monkeypatch.setattr(cells, "make_bed", lambda name: other)
    assert run.defined_by(cell, 5) != here


def test_a_result_of_an_earlier_version_is_told_as_such(tmp_path):
    config = RegretConfig(agents=("optimal",), beds=("riverswim-6",), num_steps=100)
    [cell] = config.cells()
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells" / f"{cell.name}.json").write_text('{"agent": "optimal"}')
    changes = {cell: run._changes(tmp_path, cell, config)}
    assert run.again(changes) == [
        "again      optimal in riverswim-6: left by an earlier version"
    ]


def test_its_table_fits_80_columns():
    table = {
        "agent": "loop-likelihood-theory",
        "bed": "linear-mixture",
        "num_steps": 1_000_000,
        "pseudo_regret": (428_622.0, (425_610.0, 425_942.0)),
        "slope": (1.0, (0.98, 1.02)),
        "switches": 1234.0,
        "coverage": {"inside": 50, "num_runs": 50},
    }
    fopo = table | {"agent": "fopo", "num_steps": 2000, "slope": None, "coverage": None}
    console = Console(file=io.StringIO(), width=80)
    console.print(regret_table({"cells": [table, fopo]}, "linear-mixture"))
    lines = [line for line in console.file.getvalue().splitlines() if line.strip()]
    assert lines[0].strip() == "linear-mixture, 1,000,000 steps"
    assert lines[3].split() == [
        *("loop-likelihood-theory", "428,622", "425,610–425,942"),
        *("1.00", "0.98–1.02", "1,234", "50/50"),
    ]
    assert lines[4].split()[:2] == ["fopo,", "2,000"]
    assert len(lines) == 5  # no row is broken


def test_it_leaves_curves_fits_and_what_is_claimed(killed):
    summary = json.loads((killed[0] / "summary.json").read_text())
    cells = {each["agent"]: each for each in summary["cells"]}
    assert cells["optimal"]["pseudo_regret"] == [0.0, [0.0, 0.0]]
    assert cells["optimal"]["slope"] is None
    assert cells["optimal"]["coverage"] is None
    assert cells["ucrl2-theory"]["coverage"]["num_runs"] == 2
    assert cells["ucrl2-theory"]["curve"]["mean"][-1] > 0
    assert cells["uniform"]["scale_words"].endswith("learns nothing")
    # Half of the time is spent in either state, and the best gain is 0.6.
    slope, _ = cells["uniform"]["slope"]
    assert slope == pytest.approx(1, abs=0.2)
    assert summary["claims"] == []  # no LOOP was among them
    assert summary["beds"]["linear-mixture"]["gain"] == pytest.approx(0.6)
    assert summary["seconds"]["total"] > 0


def test_its_page_is_whole_and_says_that_it_was_short(killed):
    page = (killed[0] / "report.html").read_text()
    assert page.count("<svg ") == 3  # two panels, and coverage
    assert "This was a short run, from which nothing follows." in page
    assert "theoretical" in page and "has no confidence set: learns nothing" in page
    assert "No set was empty" in page
    assert "<script" not in page and 'src="' not in page


def test_a_damaged_summary_is_one_line(killed, tmp_path, capsys):
    (tmp_path / "summary.json").write_text('{"kind": "regret", "cells": [{}]}')
    assert main(["report", str(tmp_path)]) == 2
    line = capsys.readouterr().err.strip()
    assert "expected the summary of a comparison by regret, got" in line
    assert "\n" not in line


def test_an_unknown_agent_is_one_line_with_the_known_ones(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["regret", "--agents", "nobody", "--out", str(out)]) == 2
    line = capsys.readouterr().err.strip()
    assert "--agents: expected some of loop-models, " in line and "nobody" in line
    assert "\n" not in line
    assert not out.exists()
