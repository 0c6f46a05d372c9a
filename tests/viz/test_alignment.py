"""The page of an alignment: whole or not, and no text of a pair acts."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sophia_jax.types import InputError
from sophia_jax.viz.pair_entries import read_pairs
from sophia_jax.viz.report import write_report

HOSTILE = "<script>alert(1)</script>\x00\x1b[31m\u202e\"'>&"


def write_table(folder, rows):
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, folder / "00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("margin", "status"),
    [
        (0.5, ("chosen rewarded more", True)),
        (-0.5, ("rejected rewarded more", False)),
        (0.0, ("both rewarded alike", None)),
        (float("nan"), ("reward margin not known", None)),
        (None, ("not scored yet", None)),
    ],
)
def test_a_pair_s_margin_says_which_answer_is_rewarded_more(run, margin, status):
    (path,) = (run / "held_out").iterdir()
    rows = [r | {"reward_margin": margin} for r in pq.read_table(path).to_pylist()]
    schema = pa.schema({"id": pa.string(), "reward_margin": pa.float32()})
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    found = [(pair.status, pair.good) for pair in read_pairs(run).sets[0].entries]
    assert found == [status] * 2


@pytest.fixture
def run(tmp_path):
    """Three pairs, two of them held out, after the last update."""
    run = tmp_path / "run"
    texts = {"question": f"q {HOSTILE}", "chosen": HOSTILE, "rejected": "no"}
    rows = [
        texts | {"id": f"{n}{HOSTILE}", "images": [], "held_out": n > 0}
        for n in range(3)
    ]
    write_table(run / "pairs", rows)
    margins = [{"id": row["id"], "reward_margin": -0.25} for row in rows[1:]]
    write_table(run / "held_out", margins)
    looks = {"step": 0, "reward_margin": -1.5, "reward_accuracy": 0.5}
    after = looks | {"reward_accuracy": 0.75}
    intervals = {"reward_accuracy": [0.5, 1.0]}
    found = {"before": looks, "after": after, "intervals_after": intervals}
    (run / "summary.json").write_text(json.dumps({"held_out_pairs": found}))
    return run


def page(run):
    return " ".join(write_report(run).read_text().split())


def test_the_page_tells_before_and_after_with_intervals(run):
    text = page(run)
    assert "learnt from 1 pair of answers" in text
    assert "in 75.0 %, after 50.0 % before it learnt" in text
    assert "<td>-1.5</td><td>-1.5</td>" in text
    assert "0.5 to 1</span>" in text
    assert text.count('"words":"reward margin -0.25"') == 2
    assert '"rejected rewarded more"' in text


def test_no_text_of_a_pair_becomes_an_element(run):
    text = page(run)
    assert "<script>alert" not in text
    assert text.count("\\u003cscript\\u003ealert(1)") == 3 * 4
    assert not set("\x00\x1b\u202e") & set(text)


def test_a_run_before_its_last_update_has_a_page(run):
    (run / "summary.json").unlink()
    for path in [*(run / "held_out").iterdir(), run / "held_out"]:
        path.rmdir() if path.is_dir() else path.unlink()
    text = page(run)
    assert "No looks yet" in text
    assert text.count('"words":"not scored yet"') == 2
    assert "No training curves yet" in text


def test_damaged_files_are_named(run):
    path = run / "summary.json"
    path.write_text('{"held_out_pairs": {"after": {"loss": "low"}}}')
    with pytest.raises(InputError, match="held_out_pairs.after.loss: expected a numb"):
        write_report(run)
    path.unlink()
    [shard] = (run / "pairs").iterdir()
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(InputError, match="pairs/00000-of-00001.parquet: expected a wh"):
        write_report(run)
    pq.write_table(pa.table({"id": ["a"]}), shard)
    with pytest.raises(InputError, match="pairs: expected the columns id, question"):
        write_report(run)
