"""Answers that a judge scores: on a server or here, and whatever becomes of it."""

import dataclasses
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from sophia_jax.evaluation.judged import Selection
from sophia_jax.evaluation.summary import summarize
from sophia_jax.recipes import evaluate as recipe
from sophia_jax.recipes import judging
from sophia_jax.rewards import Verdict

OPTIONS = ("--samples", 3, "--questions-per-shard", 3, "--limit", 5)


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
def judged(cli, evaluating, monkeypatch):
    """Runs an evaluation with a judge; gives its code and what it printed."""
    monkeypatch.setattr(recipe, "AnswerVerifier", Lottery)

    def run(*options):
        return cli("evaluate", *evaluating, *OPTIONS, *options)

    return run


@pytest.fixture
def server_judge(chat_server):
    """A judge on the server, and the options that name it."""

    def say(body):
        text = body["messages"][-1]["content"]
        if text == "Say yes.":
            return "yes"
        [answer] = re.findall(r" answer begins\n(.*)\n\w+ answer ends", text, re.DOTALL)
        return "who knows" if answer.endswith("0") else str(sum(answer.encode()) % 11)

    chat_server.say = say
    return (
        *("--judge", f"openai:{chat_server.url}#a/judge", "--judge-retries", 1),
        *("--server-concurrency", 1, "--server-retries", 1),
    )


def read_rows(folder):
    return pq.read_table(folder / "predictions.parquet").to_pylist()


def read_json(path):
    return json.loads(path.read_text())


def test_a_judge_on_a_server_scores_chooses_and_counts(
    judged, server_judge, chat_server, tmp_path
):
    out = tmp_path / "out"
    options = ("--select-temperature", 0.5, 2, "--server-prices", 1, 0.5, 2)
    code, printed, errors = judged(*server_judge, *options, "--out", out)
    assert (code, errors) == (0, [])
    rows, summary = read_rows(out), read_json(out / "summary.json")
    whole = [row for row in rows if row["finish_reason"] == "stop"]
    assert len(whole) > 0
    for row in rows:
        said = row["response"].strip()
        known = row in whole and not said.endswith("0")
        assert row["score"] == (sum(said.encode()) % 11 if known else None)
    selection = Selection(("best-of-k", "reward-weighted"), (0.5, 2.0))
    expected = summarize(rows, pass_k=(1, 2, 3), selection=selection)
    judge = expected.pop("judge")
    assert expected.items() <= summary.items()
    assert judge.items() <= summary["judge"].items()
    names = ["best-of-k", "reward-weighted@{} T=0.5", "reward-weighted@{} T=2"]
    for name in ("best-of-k@2", "best-of-k@3", *(n.format(3) for n in names[1:])):
        assert name in summary["intervals"]
    # Nothing beside one greeting, and nothing twice.
    counts, usage = summary["judge"], summary["judge"]["server"]
    texts = {row["response"].strip() + row["question_id"] for row in whole}
    assert counts["calls"] == usage["answers"] == len(chat_server.asked) - 1
    assert counts["asked"] <= len(texts)
    assert counts["retries"] == counts["missing"] if counts["missing"] else True
    assert counts["prompt_tokens"] == usage["prompt_tokens"] == 10 * counts["calls"]
    assert usage["cost"] > 0
    assert {body["temperature"] for body in chat_server.asked} == {0.0}
    assert "best-of-k@3" in "\n".join(printed)
    assert f"judge      {judge['scored']} answers scored" in "\n".join(printed)
    assert not (out / "shards").exists()


def test_a_failing_judge_ends_in_a_line_and_nothing_is_asked_twice(
    judged, server_judge, chat_server, tmp_path
):
    def limited(handler, body):
        handler.send(b"slowly", status=429, Retry_After="0.05")

    def broken(handler, body):
        handler.send(b"no more", status=500)

    def garbage(handler, body):
        handler.send(b"{}")

    out, whole = tmp_path / "out", tmp_path / "whole"
    assert judged(*server_judge, "--out", whole)[0] == 0
    num_asked = len(chat_server.asked)
    chat_server.asked.clear()
    chat_server.faults = [None] * 2 + [limited, None, garbage, None] + [broken] * 2
    code, _, errors = judged(*server_judge, "--out", out)
    assert (code, len(errors)) == (1, 1)
    assert "expected an answer, got HTTP 500 'no more' at try 2; --resume" in errors[0]
    assert not (out / "summary.json").exists()
    assert not (out / "predictions.parquet").exists()
    assert len(chat_server.asked) == 8
    # The server is asked otherwise now, which is no other judge.
    options = ("--server-stream", "--server-retries", 3, "--out", out, "--resume")
    code, _, errors = judged(*server_judge, *options)
    assert (code, errors) == (0, [])
    # Four tries failed, and there was one more greeting.
    assert len(chat_server.asked) == num_asked + 4 + 1
    assert read_rows(out) == read_rows(whole)
    one, other = (read_json(each / "summary.json")["judge"] for each in (out, whole))
    retries = one["server"].pop("retries")
    assert retries == {"HTTP 429": 1, "HTTP 500": 2, "bad reply": 1}
    for each in (one, other):
        del each["server"]
    assert one == other
    code, _, errors = judged(
        *server_judge, "--judge-kind", "yes", "--out", out, "--resume"
    )
    assert code == 2
    assert "judge was {" in errors[0]


def test_the_probability_of_yes_comes_from_a_server_s_list(
    judged, server_judge, chat_server, tmp_path
):
    def listed(handler, body):
        top = [{"token": "Yes", "logprob": -0.5}, {"token": "no", "logprob": -1.5}]
        content = [{"token": "Yes", "logprob": -0.5, "top_logprobs": top}]
        handler.answer(
            body, text="Yes", finish_reason="length", logprobs={"content": content}
        )

    chat_server.faults = [None] + [listed] * 100
    code, _, errors = judged(
        *server_judge, "--judge-kind", "yes", "--out", tmp_path / "out"
    )
    assert (code, errors) == (0, [])
    asked = chat_server.asked[1]
    assert (asked["max_tokens"], asked["logprobs"], asked["top_logprobs"]) == (
        1,
        True,
        20,
    )
    assert asked["temperature"] == 1.0
    [score] = {row["score"] for row in read_rows(tmp_path / "out")} - {None}
    assert score == pytest.approx(1 / (1 + np.exp(-1.0)))


def test_a_model_here_judges_what_it_sees(judged, models, tmp_path, monkeypatch):
    tokens, asked = [], []

    def known(model, words):
        tokens.append(words)
        return [17, 40]

    # The tiny tokenizer has no word for yes; two of its tokens stand for it.
    monkeypatch.setattr(judging, "tokens_that_read", known)
    monkeypatch.setattr(
        judging.FirstTokens,
        "_completion",
        renamed(judging.FirstTokens._completion, asked),
    )
    out = tmp_path / "yes"
    options = ("--judge", models / "policy", "--judge-prompts", "short")
    code, _, errors = judged(*options, "--judge-kind", "yes", "--out", out)
    assert (code, errors) == (0, [])
    rows, judge = read_rows(out), read_json(out / "summary.json")["judge"]
    assert tokens == [("yes", "no")]
    scores = [row["score"] for row in rows if row["score"] is not None]
    assert len(set(scores)) > 1
    assert all(0 < score < 1 for score in scores)
    assert judge["scored"] == len(scores)
    assert judge["calls"] == judge["asked"] == judge["completion_tokens"]
    assert judge["prompt_tokens"] > 5 * judge["calls"]
    assert "server" not in judge
    assert len(asked) == judge["calls"]
    assert {len(request.images) for request in asked} == {1}


def renamed(make, asked):
    """The two tokens by the names that a judge looks for, in other words."""

    def completion(self, request, log_probs):
        asked.append(request)
        made = make(self, request, log_probs - log_probs.max())
        (_, yes), (_, no) = made.first_token
        return dataclasses.replace(made, first_token=(("yes", yes), ("no", no)))

    return completion


def test_preferences_of_a_model_that_never_makes_sense_are_missing(
    judged, models, tmp_path
):
    out = tmp_path / "pairs"
    options = ("--judge", models / "reasoner", "--judge-kind", "pairs")
    more = ("--judge-prompts", "short", "--judge-retries", 0, "--select", "best-of-k")
    code, printed, errors = judged(*options, *more, "--out", out)
    assert (code, errors) == (0, [])
    summary = read_json(out / "summary.json")
    assert summary["judge"]["unread"].keys() <= {"unreadable", "cut_off", "too_long"}
    assert summary["judge"]["position_bias"]["pairs"] == 0
    assert summary["judge"]["missing"] > 0
    assert {row["score"] for row in read_rows(out)} <= {None, 0.0}
    assert not any(name.startswith("reward") for name in summary["intervals"])
    assert summary["best-of-k@3"] <= summary["pass@3"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--select", "best-of-k"), "expected a --judge that scores the answers, got"),
        (("--judge", "openai:x"), "judge: expected openai:http://HOST/v1#MODEL, got"),
        (("--judge", "m", "--select", "majority"), "--judge: expected a --select that"),
        (
            ("--judge", "m", "--select-temperature", -1),
            "select_temperature: expected >=",
        ),
        (
            ("--judge", "m", "--judge-retries", -1),
            "judge_retries: expected >= 0, got -1",
        ),
        (
            ("--judge", "m", "--judge-opponents", 2),
            "judge_opponents: expected none but",
        ),
        (
            ("--judge", "m", "--judge-kind", "pairs", "--judge-opponents", 3),
            "opponents: expected an even number >= 2, got 3",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(judged, tmp_path, options, rule):
    code, _, errors = judged(*options, "--out", tmp_path / "out")
    assert (code, len(errors)) == (2, 1)
    assert rule in errors[0]
    assert not (tmp_path / "out").exists()


def test_a_vote_needs_no_judge(judged, tmp_path):
    code, _, errors = judged("--select", "majority", "--out", tmp_path / "out")
    assert (code, errors) == (0, [])
    summary = read_json(tmp_path / "out" / "summary.json")
    assert "majority@3" in summary
    assert "judge" not in summary
