"""Several answers to each question, killed evaluations, and two runs compared."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sophia_jax.cli.evaluate import Evaluate
from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import PAPER
from sophia_jax.evaluation.summary import summarize
from sophia_jax.recipes import evaluate as recipe
from sophia_jax.rewards import Verdict


def read_json(path):
    return json.loads(path.read_text())


def read_rows(folder):
    return pq.read_table(folder / "predictions.parquet").to_pylist()


def test_the_defaults_are_the_paper_s_protocol():
    config = Evaluate(model="m", data=Path("d"), out=Path("o"))._config()
    # Section 5.1: pass@1, temperature 1.0, top-p 0.8, 16384 tokens, its system prompt.
    assert config.answer == SamplingConfig(16384, temperature=1.0, top_p=0.8)
    assert (config.num_samples, config.pass_k) == (1, (1,))
    assert config.system == PAPER.system is not None


def test_a_shard_fills_the_slots_several_times():
    one, eight, few = (
        Evaluate(
            model="m", data=Path("d"), out=Path("o"), num_samples=n, slots=slots
        )._config()
        for n, slots in ((1, 256), (8, 256), (1, 8))
    )
    assert (one.shard_size, eight.shard_size, few.shard_size) == (1024, 128, 128)


class Lottery:
    """Takes about half of all answers for right, the same ones always."""

    def __init__(self, **options):
        self.options = options

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def verify(self, pairs):
        right = [sum(map(ord, text)) % 2 for text, _ in pairs]
        return [Verdict.RIGHT if each else Verdict.WRONG for each in right]


@pytest.fixture
def lottery(monkeypatch):
    monkeypatch.setattr(recipe, "AnswerVerifier", Lottery)


@pytest.fixture
def four_answers(cli, evaluating, lottery, tmp_path):
    """The folder of an evaluation with four answers to each question."""
    out = tmp_path / "four"
    code, printed, errors = cli(
        *("evaluate", *evaluating, "--out", out, "--num-samples", 4),
        *("--questions-per-shard", 2),
    )
    assert (code, errors) == (0, [])
    return out, "\n".join(printed)


def test_several_answers_are_scored_shown_and_written_for_vlmevalkit(four_answers):
    out, printed = four_answers
    rows = read_rows(out)
    assert [(row["question_id"], row["sample"]) for row in rows] == [
        (f"q{question}", sample) for question in range(6) for sample in range(4)
    ]
    texts = {(row["question_id"], row["response"]) for row in rows}
    assert len(texts) > 12  # samples of one question differ
    # The first row of the one question with a true caption has one of the model's.
    assert [row["caption"] is not None for row in rows] == [True] + [False] * 23
    summary = read_json(out / "summary.json")
    scores = ["pass@1", "pass@2", "pass@4", "majority@2", "majority@4"]
    assert list(summary["intervals"]) == scores
    assert summarize(rows, pass_k=(1, 2, 4)).items() <= summary.items()
    assert 0 < summary["pass@1"] < summary["pass@4"] <= 1
    for name in scores:
        low, high = summary["intervals"][name]
        assert low <= summary[name] <= high
        assert f"{summary[name]:.1%}" in printed
    assert "subject: sum, pass@4" in printed
    assert "answer type: integer, majority@4" in printed
    assert f"answers    24: {summary['parsed']:.1%} with an answer to judge" in printed
    with (out / "vlmevalkit.tsv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    assert [row["index"] for row in table] == [f"q{n}" for n in range(6)]
    names = {path.name for path in out.iterdir()}
    assert names == {
        "config.json",
        "predictions.parquet",
        "programs.json",
        "report.html",
        "summary.json",
        "vlmevalkit.tsv",
    }


def test_the_first_answers_are_those_of_an_evaluation_with_one(
    cli, evaluating, four_answers, tmp_path
):
    cli("evaluate", *evaluating, "--out", tmp_path / "one")
    firsts = [row for row in read_rows(four_answers[0]) if row["sample"] == 0]
    assert read_rows(tmp_path / "one") == firsts


@pytest.mark.parametrize("stage", ["answer_questions", "read_captions"])
def test_a_killed_evaluation_goes_on_and_ends_with_the_same_bytes(
    stage, cli, evaluating, four_answers, tmp_path, content, monkeypatch
):
    out = tmp_path / "killed"
    options = (*evaluating, "--num-samples", 4, "--questions-per-shard", 2)
    asked = []
    real = getattr(recipe, stage)

    def counted(generate, *arguments, **settings):
        def sample(requests):
            for completion in generate(requests):
                asked.append(completion)
                yield completion
                if len(asked) == limit:
                    raise KeyboardInterrupt

        return real(sample, *arguments, **settings)

    # In the middle of the second of three shards, or of the only caption.
    total, limit = (24, 13) if stage == "answer_questions" else (1, 1)
    monkeypatch.setattr(recipe, stage, counted)
    code, _, errors = cli("evaluate", *options, "--out", out)
    assert (code, len(errors)) == (130, 1)
    assert not (out / "summary.json").exists()
    assert not (out / "predictions.parquet").exists()
    done = len(list((out / "shards" / "answers").iterdir()))
    assert done == (1 if stage == "answer_questions" else 3)

    asked.clear()
    limit = None
    code, _, errors = cli("evaluate", *options, "--out", out, "--resume")
    assert (code, errors) == (0, [])
    assert len(asked) == total - 8 * done * (stage == "answer_questions")
    killed, whole = content(out), content(four_answers[0])
    for name in whole.keys() - {"programs.json"}:
        assert killed[name] == whole[name]
    assert killed.keys() == whole.keys()


def test_an_evaluation_that_has_ended_is_not_made_again(
    cli, evaluating, four_answers, content, monkeypatch
):
    out = four_answers[0]
    before = content(out)
    monkeypatch.setattr(recipe, "load_vision_model", None)  # which would be needed
    options = (*evaluating, "--num-samples", 4, "--questions-per-shard", 2)
    code, _, errors = cli("evaluate", *options, "--out", out, "--resume")
    assert (code, errors) == (0, [])
    unchanged = before.keys() - {"programs.json"}
    assert {name: content(out)[name] for name in unchanged} == {
        name: before[name] for name in unchanged
    }


def test_an_evaluation_of_other_settings_is_not_resumed(
    cli, evaluating, four_answers, content
):
    out = four_answers[0]
    before = content(out)
    options = ("--num-samples", 3, "--questions-per-shard", 2, "--temperature", 0.5)
    code, _, errors = cli("evaluate", *evaluating, *options, "--out", out, "--resume")
    assert (code, len(errors)) == (2, 1)
    assert "num_samples was 4, is 3" in errors[0]
    assert "'temperature': 0.5" in errors[0]
    assert content(out) == before


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--num-samples", 4, "--pass-k", 1, 8), "pass_k: expected 1 to the 4 samples"),
        (("--pass-k", 0), "pass_k: expected 1 to the 1 samples of a question, got 0"),
        (("--num-samples", 0), "num_samples: expected 1 to 1000, got 0"),
        (("--questions-per-shard", 0), "questions_per_shard: expected >= 1, got 0"),
    ],
)
def test_numbers_out_of_their_range_are_refused(
    options, rule, cli, evaluating, tmp_path
):
    code, _, errors = cli("evaluate", *evaluating, *options, "--out", tmp_path / "out")
    assert (code, len(errors)) == (2, 1)
    assert rule in errors[0]
    assert not (tmp_path / "out").exists()


def test_the_rule_reaches_the_verifier(cli, evaluating, lottery, tmp_path, monkeypatch):
    made = []

    def verifier(**options):
        made.append(options)
        return Lottery()

    monkeypatch.setattr(recipe, "AnswerVerifier", verifier)
    for rule in ("math", "mathvision"):
        out = tmp_path / rule
        cli("evaluate", *evaluating, "--limit", 1, "--rule", rule, "--out", out)
    assert made == [{"rule": "math"}, {"rule": "mathvision"}]


def test_two_runs_are_compared(cli, evaluating, four_answers, tmp_path, models):
    first, second = four_answers[0], tmp_path / "second"
    options = ("--num-samples", 4, "--temperature", 0.7, "--seed", 1)
    cli("evaluate", *evaluating, *options, "--out", second)
    out = tmp_path / "versus"
    code, printed, errors = cli("versus", first, second, "--out", out)
    assert (code, errors) == (0, [])
    compared = read_json(out / "summary.json")
    before, after = (read_json(each / "summary.json") for each in (first, second))
    assert compared["first"] == pytest.approx(before["pass@1"])
    assert compared["second"] == pytest.approx(after["pass@1"])
    assert compared["won"] + compared["lost"] == len(compared["changed"]) > 0
    assert list(compared["protocols_differ"]) == ["answer"]
    text = "\n".join(printed)
    assert f"{compared['difference']:+.1%}" in text
    assert "sign flips" in text
    assert "careful    answer was" in text
    changed = compared["changed"]
    words = {"won" if each["second"] > each["first"] else "lost" for each in changed}
    assert {w for w in ("won", "lost") if f"\n{w:<10} q" in text} == words
    again = cli("versus", first, second, "--out", out)
    assert again[0] == 2
    assert "--force deletes it" in again[2][0]
    assert cli("versus", first, second, "--out", out, "--force")[0] == 0


def test_runs_that_cannot_be_compared_are_refused_in_a_line(
    cli, evaluating, four_answers, tmp_path
):
    first, second = four_answers[0], tmp_path / "second"
    cli("evaluate", *evaluating, "--limit", 3, "--out", second)

    def refused(*arguments):
        code, _, errors = cli("versus", *arguments)
        assert (code, len(errors)) == (2, 1)
        return errors[0]

    assert f"{tmp_path / 'none'}/predictions.parquet: expected the answers" in refused(
        first, tmp_path / "none"
    )
    assert "got 3 ('q3' first) missing and 0 more; --common" in refused(first, second)
    code, printed, _ = cli("versus", first, second, "--common")
    assert code == 0
    assert "left out   3 questions of the first alone, 0 of the second" in printed
    pq.write_table(pa.table({"x": [1]}), second / "predictions.parquet")
    assert "question_id: expected string, got no such column" in refused(first, second)
