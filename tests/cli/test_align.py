"""`align` on the preferences of a file and of stored rollouts, and what it refuses."""

import dataclasses
import json
import shutil

import pyarrow.parquet as pq
import pytest

from sophia_jax.config import SophiaConfig
from sophia_jax.data.items import read_items
from sophia_jax.data.prompts import DIGITS
from sophia_jax.models.folder import describe_model
from sophia_jax.recipes import align as recipe
from sophia_jax.recipes.preferences import mined_pairs, plain_examples, read_pairs
from sophia_jax.recipes.questions import digest
from sophia_jax.rollouts.selection import select_trajectories
from sophia_jax.rollouts.tables import RolloutTables

SOPHIA = SophiaConfig(num_captions=1, num_reasonings=3, threshold=0.2)
QUICK = ("--num-steps", 2, "--row-length", 64, "--learning-rate", 1e-3)


@pytest.fixture
def run(questions, tmp_path):
    """A collection of six questions, three reasonings each: right, wrong, cut off."""
    run = tmp_path / "run"
    items = read_items(questions).items
    tables = RolloutTables(run / "rollouts", items, 4)
    for shard in range(tables.num_shards):
        items_here = tables.questions(shard)
        rows = [row(item, n) for item in items_here for n in range(3)]
        tables.reasonings.write(shard, rows)
        selection = select_trajectories(items_here, rows, None, SOPHIA)
        tables.selection.write(shard, selection)
    settings = {
        "policy": "p",
        "data": str(questions),
        "limit": None,
        "prompts": dataclasses.asdict(DIGITS),
        "questions": digest(items),
        "warm_up": None,
        "sophia": dataclasses.asdict(SOPHIA),
        "questions_per_shard": 4,
    }
    (run / "config.json").write_text(json.dumps(settings))
    return run


@pytest.fixture
def quickstart(questions, tmp_path):
    """The quickstart's folder: its questions within, one shard of 128."""
    run = tmp_path / "quickstart"
    shutil.copytree(questions.parent, run / "data" / "train")
    items = read_items(run / "data" / "train").items
    rows = [row(item, number) for item in items for number in range(3)]
    RolloutTables(run / "rollouts", items).reasonings.write(0, rows)
    settings = {"data": {"name": "quickstart"}, "sophia": dataclasses.asdict(SOPHIA)}
    (run / "config.json").write_text(json.dumps(settings))
    return run


def row(item, number):
    text, verdict, reason = [
        (f"so {item.answer}", "right", "stop"),
        (f"maybe {item.answer}1", "wrong", "stop"),
        ("1 + 1 + 1 +", "wrong", "length"),
    ][number]
    absent = dict.fromkeys(("behavior_log_probs", "policy_log_probs"))
    return absent | {
        "question_id": item.id,
        "caption": 0,
        "reasoning": number,
        "prompt": "",
        "text": text,
        "token_ids": [1, 2],
        "finish_reason": reason,
        "verdict": verdict,
        "reward": float(verdict == "right"),
        "seed": 0,
    }


@pytest.fixture
def aligning(models, tmp_path):
    return ("--policy", models / "policy", "--out", tmp_path / "out")


@pytest.fixture
def refusal(cli, aligning, tmp_path):
    """The one line of a command that is refused, and leaves nothing."""

    def refusal(*options):
        code, _, errors = cli("align", *aligning, *options)
        assert code == 2
        assert not (tmp_path / "out").exists()
        [line] = errors
        return line.removeprefix("sophia-jax: error: ")

    return refusal


def test_rollouts_become_pairs_a_model_and_a_page(cli, aligning, run, tmp_path):
    out = tmp_path / "out"
    options = ("--run", run, *QUICK, "--lora-rank", 2, "--held-out", 0.3)
    code, printed, errors = cli("align", *aligning, *options)
    assert (code, errors) == (0, [])
    assert "pairs      4 to learn from, 2 held out, 0 rows skipped" in printed
    pairs = pq.read_table(out / "pairs").to_pylist()
    assert [(row["question_id"], row["chosen"], row["rejected"]) for row in pairs] == [
        (f"q{n}", f"so {n}", f"maybe {n}1") for n in range(6)
    ]
    assert {row["rejected_reasoning"] for row in pairs} == {1}
    assert (out / "model" / "config.json").is_file()
    assert (out / "adapters").is_dir()
    looks = json.loads((out / "summary.json").read_text())["held_out_pairs"]
    assert looks["after"]["loss"] < looks["before"]["loss"]
    page = (out / "report.html").read_text()
    assert "Teaching a model what is preferred" in page
    assert page.count('"title":"Rejected"') == 6
    assert page.count("data:image/") == 6
    assert "f-DPO on held-out pairs, which are never learnt from" in page
    assert 'aria-label="f_dpo/held_out, reward margin: ' in page
    # The table is itself a source of the same preferences, pictures included.
    mined = mined_pairs(run, describe_model(aligning[1])).preferences
    read = read_pairs(str(out / "pairs")).preferences
    assert read == tuple(dataclasses.replace(each, kind="") for each in mined)


def test_the_quickstarts_rollouts_are_mined_like_a_collections(quickstart, run, models):
    policy = describe_model(models / "policy")
    ours, theirs = (mined_pairs(each, policy).mined for each in (quickstart, run))
    assert len(ours) == 6
    for one, other in zip(ours, theirs, strict=True):
        assert one.question_id == other.question_id
        assert (one.chosen, one.rejected) == (other.chosen, other.rejected)
        assert one.preference.images[0].startswith(str(quickstart))


def test_reasonings_that_were_cut_off_are_rejected_on_request(run, models):
    policy = describe_model(models / "policy")
    pairs = mined_pairs(run, policy, num_pairs=2, cut_off=True).preferences
    assert len(pairs) == 12
    ended = {each.rejected: each.rejected_ended for each in pairs}
    assert ended.pop("1 + 1 + 1 +") is False
    assert set(ended.values()) == {True}
    end = policy.tokenizer.eos_token_id
    for item, example in zip(
        pairs, plain_examples(policy, pairs)[0][1::2], strict=True
    ):
        assert (example.target_ids[-1] == end) == item.rejected_ended


def test_bad_and_long_rows_of_a_file_are_skipped_and_counted(
    cli, aligning, tmp_path, monkeypatch
):
    def interrupted(task, track):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "prepare", interrupted)
    rows = [{"prompt": f"{n}?", "chosen": "yes", "rejected": "no"} for n in range(4)]
    rows += [rows[0] | {"rejected": ""}, rows[1] | {"chosen": "yes, " * 50}]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ("--data", data, *QUICK)
    code, _, [line] = cli("align", *aligning, *options)
    assert code == 2
    assert f"{data}:5: rejected: expected a non-empty text, or a chat, got ''" in line
    code, printed, _ = cli("align", *aligning, *options, "--skip-bad-rows")
    assert code == 130
    assert "pairs      3 to learn from, 1 held out, 2 rows skipped" in printed
    bad, long = (tmp_path / "out" / "skipped.txt").read_text().splitlines()
    assert bad == line.removeprefix("sophia-jax: error: ").partition(" (")[0]
    assert "id 6: prompt: expected at most row_length=64 tokens with its answer" in long


def test_what_cannot_be_meant_is_refused_in_one_line(refusal, run, tmp_path):
    assert refusal() == "--data, --run: expected one of them, got neither"
    both = refusal("--data", "x", "--run", run)
    assert both == "--data, --run: expected one of them, got both"
    assert "--run: expected a run to mine" in refusal("--data", "x", "--threshold", 0.5)
    assert "--limit, --exclude" in refusal("--run", run, "--limit", 3)
    assert refusal("--run", run, "--beta", -1) == "beta: expected > 0, got -1.0"
    alpha = refusal("--run", run, "--divergence", "alpha")
    assert alpha == "alpha: expected a number in (0, 1), got none"
    high = refusal("--run", run, "--threshold", 0.4)
    assert "under captions above 0.4, got none in 6 questions" in high
    assert "expected an items.jsonl file" in refusal("--data", tmp_path / "no.jsonl")
    assert "expected a collection's settings" in refusal("--run", tmp_path / "no")
    (run / "rollouts" / "reasonings" / "00001-of-00002.parquet").unlink()
    assert "expected all 2 shards, got 1" in refusal("--run", run)
