"""Commands take questions in any form, leave out leaks, and mix other texts in."""

import base64
import csv
import json
import shutil

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sophia_jax.cli.main import main
from sophia_jax.models.adapter_folder import load_adapters
from sophia_jax.models.adapters import merge_adapters
from sophia_jax.models.folder import load_model, stored_dtype
from sophia_jax.recipes import own_data
from sophia_jax.rewards import Verdict
from sophia_jax.training import loop
from sophia_jax.viz.questions import read_questions


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """What is unpacked stays in the test's folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def rows(questions):
    """The rows of the question file, their pictures as bytes."""
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    folder = questions.parent
    return [row | {"image": (folder / row["image"]).read_bytes()} for row in rows]


@pytest.fixture
def tsv(rows, tmp_path):
    path = tmp_path / "questions.tsv"
    names = ("id", "question", "answer", "kind")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["index", "question", "answer", "category", "image"])
        for row in rows:
            picture = base64.b64encode(row["image"]).decode()
            writer.writerow([*(row[name] for name in names), picture])
    return path


@pytest.fixture
def parquet(rows, tmp_path):
    path = tmp_path / "questions.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def clouds(seed):
    """A picture of large spots."""
    spots = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(spots).resize((84, 84), Image.Resampling.BICUBIC)


@pytest.fixture
def noisy(questions):
    """Gives the questions pictures and words that tell them apart."""
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    for index, row in enumerate(rows):
        path = questions.parent / row["image"]
        clouds(index).save(path)
        row["question"] = f"What is sum number {index}?"
    questions.write_text("\n".join(map(json.dumps, rows)))
    return rows


def test_a_tsv_file_is_evaluated_like_the_rows_it_came_from(
    cli, evaluating, tsv, tmp_path
):
    one, other = tmp_path / "one", tmp_path / "other"
    assert cli("evaluate", *evaluating, "--out", one)[0] == 0
    code, printed, _ = cli("evaluate", *evaluating, "--data", tsv, "--out", other)
    assert code == 0
    assert any(line.startswith("pictures   6 unpacked to ") for line in printed)
    first, second = (
        pq.read_table(out / "predictions.parquet").to_pylist() for out in (one, other)
    )
    for row, same in zip(first, second, strict=True):
        assert (row["question_id"], row["response"], row["verdict"]) == (
            *(same[name] for name in ("question_id", "response", "verdict")),
        )


def test_a_parquet_file_is_collected_updated_and_shown(
    cli, collecting, lenient, parquet, tmp_path
):
    run = tmp_path / "run"
    options = (*collecting, "--data", parquet, "--out", run)
    assert cli("collect", *options)[0] == 0
    assert cli("update", "--run", run)[0] == 0
    shown = read_questions(run, read_json(run / "config.json")["data"])
    assert [item.answer for item in shown.values()] == list("012345")


@pytest.mark.parametrize("command", ["collect", "evaluate"])
def test_bad_rows_are_counted_by_reason(
    command, cli, collecting, evaluating, change_row, tmp_path
):
    change_row(1, answer="")
    change_row(2, answer=None)
    change_row(4, image="none.png")
    options = {"collect": collecting, "evaluate": evaluating}[command]
    out = tmp_path / "out"
    assert cli(command, *options, "--out", out, "--skip-bad-rows")[0] == 0
    summary = read_json(out / "summary.json")
    assert summary["skipped"] == 3
    assert summary["skipped_by_reason"] == {
        "answer: a non-empty string or a number": 2,
        "image: a readable picture": 1,
    }


def test_rows_of_a_benchmark_are_left_out_and_listed(
    cli, collecting, noisy, questions, change_row, tmp_path, lenient
):
    """One row has a benchmark's picture, smaller; another its words."""
    asked = "What is sum number 3 if all of the other numbers are left out"
    change_row(3, question=f"{asked}?")
    benchmark = tmp_path / "benchmark"
    benchmark.mkdir()
    with Image.open(questions.parent / noisy[1]["image"]) as picture:
        picture.resize((70, 70)).save(benchmark / "a.png")
    clouds(100).save(benchmark / "b.png")
    theirs = [
        {"id": "x", "question": "Another one?", "image": "a.png"},
        {"id": "y", "question": "what is SUM number 4", "image": "none.png"},
        {"id": "z", "question": asked.lower(), "image": "b.png"},
    ]
    (benchmark / "items.jsonl").write_text("\n".join(map(json.dumps, theirs)))
    run = tmp_path / "run"
    options = (*collecting, "--exclude", benchmark, "--out", run)
    code, _, errors = cli("train", *options)
    assert code == 2
    assert f"{benchmark}/items.jsonl:2: image: expected" in errors[0]
    code, printed, _ = cli("train", *options, "--skip-bad-rows")
    assert code == 0
    said = (
        f"exclude    2 rows that stand in {benchmark} (2 rows; 1 bad rows not compared)"
    )
    assert said in printed
    first, second = (run / "skipped.txt").read_text().splitlines()
    assert "id q1: picture: expected none of a benchmark's, got that of row x" in first
    assert (
        "id q3: question: expected none of a benchmark's, got that of row z" in second
    )
    assert first.endswith(f"of {benchmark}")
    assert read_json(run / "summary.json")["skipped_by_reason"] == {
        "picture: none of a benchmark's": 1,
        "question: none of a benchmark's": 1,
    }
    asked = pq.read_table(run / "rollouts" / "selection").to_pylist()
    assert [row["question_id"] for row in asked] == ["q0", "q2", "q4", "q5"]
    # What is mixed in is checked against the same benchmark.
    code, printed, _ = cli(
        *("update", "--run", run, "--force", "--skip-bad-rows"),
        *("--mix", f"{questions}=1"),
    )
    assert code == 0
    assert said in printed
    assert read_json(run / "summary.json")["update"]["mix"][0]["rows"] == 4


def test_a_set_that_is_all_of_a_benchmark_is_refused(
    cli, collecting, noisy, questions, tmp_path
):
    run = tmp_path / "run"
    code, _, errors = cli("collect", *collecting, "--exclude", questions, "--out", run)
    assert code == 2
    assert "expected a row that stands in no benchmark, got none" in errors[0]
    assert not run.exists()


@pytest.fixture
def texts(tmp_path):
    """Text-only rows with long answers."""
    path = tmp_path / "texts" / "items.jsonl"
    path.parent.mkdir()
    rows = [
        {"id": n, "question": f"{n} + {n}?", "answer": f"So \\boxed{{{2 * n}}}"}
        for n in range(5)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def collected(models, tmp_path_factory):
    """A collection of which everything that came to an end was kept."""
    folder = tmp_path_factory.mktemp("collected")
    rows = []
    for index in range(6):
        clouds(index).save(folder / f"{index}.png")
        row = {"id": f"q{index}", "question": "What is the sum?", "answer": "1"}
        rows.append(row | {"image": f"{index}.png"})
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = {"policy": models / "policy", "reasoner": models / "reasoner"}
    options |= {"data": folder / "items.jsonl", "out": folder / "run"}
    options |= {"max-caption-tokens": 8, "max-answer-tokens": 32, "threshold": 0}
    options |= {"num-captions": 2, "num-reasonings": 4, "prompts": "digits"}
    arguments = [
        part for name, value in options.items() for part in (f"--{name}", value)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_data, "AnswerVerifier", AllRight)
        assert main(["collect", "--slots", "32", *map(str, arguments)]) == 0
    return folder / "run"


class AllRight:
    """Takes every answer that came to an end for right."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def verify(self, pairs):
        return [Verdict.RIGHT for _ in pairs]


@pytest.fixture
def run(collected, tmp_path):
    """A copy of the collection, to be updated."""
    return shutil.copytree(collected, tmp_path / "run")


def test_an_update_mixes_texts_and_pictures_in_exact_shares(
    cli, run, texts, parquet, monkeypatch, tiny_tokenizer
):
    seen, step = [], loop.train_step

    def spy(state, batch):
        seen.append(batch)
        return step(state, batch)

    monkeypatch.setattr(loop, "train_step", spy)
    mix = (f"{texts}=2", f"{parquet}=1")
    code, printed, errors = cli(
        *("update", "--run", run, "--batch-size", 6),
        *("--mix", *mix, "--trajectory-weight", 3),
    )
    assert (code, errors) == (0, [])
    summary = read_json(run / "summary.json")["update"]
    kept = summary["trajectories"]
    # One pass over the trajectories, which are half of what is learnt.
    assert summary["num_steps"] == -(-2 * kept // 6) == len(seen)
    assert summary["trajectory_share"] == 1 / 2
    assert summary["mix"] == [
        {"data": str(texts), "rows": 5, "share": 1 / 3},
        {"data": str(parquet), "rows": 6, "share": 1 / 6},
    ]
    assert any(
        line.startswith(f"update     {kept} trajectories and 11 rows beside them, ")
        for line in printed
    )
    for batch in seen:
        learnt = [
            tiny_tokenizer.decode(ids[mask])
            for ids, mask in zip(batch.target_ids, batch.target_mask, strict=True)
        ]
        assert sum(text.startswith("So \\boxed{") for text in learnt) == 2
        tiles = {index // 4 for index in batch.image_index.ravel() if index >= 0}
        # Three trajectories and one other picture, of four tiles and a thumbnail.
        assert len(tiles) == 4 * 5


def test_an_update_of_adapters_leaves_them_and_the_merged_model(cli, run, models):
    lora = ("--lora-rank", 2, "--lora-targets", "query", "down")
    few_bits = ("--dtype", "bfloat16", "--optimizer-state", "int8")
    sizes = ("--num-steps", 2, "--learning-rate", 0.05, "--micro-batches", 2)
    code, _, errors = cli("update", "--run", run, *lora, *few_bits, *sizes)
    assert (code, errors) == (0, [])
    base = load_model(models / "policy", dtype="bfloat16")
    adapted = load_adapters(base, run / "adapters")
    assert (adapted.lora.rank, adapted.lora.alpha) == (2, 4.0)
    assert adapted.lora.targets == ("query", "down")
    assert all(np.any(each["b"]) for each in adapted.params["adapters"].values())
    assert stored_dtype(run / "model") == "bfloat16"
    merged = load_model(run / "model", dtype="bfloat16")
    jax.tree.map(
        np.testing.assert_array_equal, merged.params, merge_adapters(adapted).params
    )
    code, _, errors = cli("update", "--run", run, "--force", "--lora-alpha", 3)
    assert code == 2
    assert "lora_rank: expected a number for adapters, got none" in errors[0]
    assert (run / "adapters").exists()


def test_a_mixed_update_that_was_killed_ends_with_the_same_model(
    cli, run, texts, tmp_path, content, monkeypatch
):
    mixing = ("--mix", f"{texts}=1", "--batch-size", 2, "--checkpoint-every", 2)
    whole = shutil.copytree(run, tmp_path / "whole")
    assert cli("update", "--run", whole, *mixing)[0] == 0
    assert read_json(whole / "summary.json")["update"]["num_steps"] > 3
    step, done = loop.train_step, []

    def interrupted(state, batch):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(batch)
        return step(state, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", interrupted)
        assert cli("update", "--run", run, *mixing)[0] == 130
    again = ("update", "--run", run, "--resume", *mixing)
    code, _, errors = cli(*again, "--trajectory-weight", 2)
    assert code == 2
    assert "trajectory_weight was 1, is 2" in errors[0]
    before = texts.read_text()
    texts.write_text(before.replace("So ", "Thus "))
    code, _, errors = cli(*again)
    assert code == 2
    assert "mixed_in was " in errors[0]
    texts.write_text(before)
    assert cli(*again)[0] == 0
    assert content(whole / "model") == content(run / "model")


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (["x"], "--mix: expected SOURCE=WEIGHT, a whole number, got x"),
        (["x=1.5"], "--mix: expected SOURCE=WEIGHT, a whole number, got x=1.5"),
        (["=1"], "--mix: expected SOURCE=WEIGHT, a whole number, got =1"),
        (["/x=0"], "weight of /x: expected >= 1, got 0"),
        (["/x=1", "/x=2"], "mix: expected each source once, got ['/x', '/x']"),
    ],
)
def test_a_mix_that_means_nothing_is_refused(cli, tmp_path, mix, message):
    code, _, errors = cli("update", "--run", tmp_path, "--mix", *mix)
    assert code == 2
    assert errors == [f"sophia-jax: error: {message}"]


def test_a_row_that_is_too_long_to_mix_in_is_skipped_on_request(cli, run, texts):
    long = {"id": "long", "question": "Why? " * 200, "answer": "x"}
    texts.write_text(texts.read_text() + "\n" + json.dumps(long))
    options = ("update", "--run", run, "--mix", f"{texts}=1", "--num-steps", 1)
    code, _, errors = cli(*options)
    assert code == 2
    assert "id long: prompt: expected at most 256 tokens" in errors[0]
    assert not (run / "training").exists()
    assert cli(*options, "--skip-bad-rows")[0] == 0
    update = read_json(run / "summary.json")["update"]
    assert update["mix"][0]["rows"] == 5
    assert update["mix_skipped"] == 1
    assert "id long" in (run / "training" / "sophia" / "skipped.txt").read_text()
