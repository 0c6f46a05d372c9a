"""What a judge is shown of an evaluation's answers."""

import math

import numpy as np
import pytest

from sophia_jax.config import ServerConfig
from sophia_jax.evaluation.predictions import PREDICTIONS
from sophia_jax.recipes.answer_shards import AnswerShards
from sophia_jax.recipes.judge_config import JudgeConfig
from sophia_jax.recipes.judging import (
    OpenJudge,
    judge_shards,
    open_judge,
    score_rows,
)
from sophia_jax.types import Completion, InputError, Item

ITEMS = {name: Item(name, "Why?", "1", (f"{name}.png",)) for name in ("q0", "q1")}


def row(name, sample, response, reason="stop"):
    return {
        **{"question_id": name, "sample": sample, "question": "Why?"},
        **{"response": response, "finish_reason": reason},
    }


ROWS = [
    row("q0", 0, "<think>\nhm\n</think>\n\nSo 1."),
    row("q0", 1, "So 1, or", "length"),
    row("q1", 0, "2"),
]


def test_a_judge_reads_what_follows_the_thinking_of_what_was_not_cut_off():
    seen = []

    def judge(pairs, images):
        seen.append((pairs, images))
        return [7.0, math.nan]

    assert score_rows(judge, ITEMS, ROWS, sees=True) == [
        {"question_id": "q0", "sample": 0, "score": 7.0},
        {"question_id": "q0", "sample": 1, "score": None},
        {"question_id": "q1", "sample": 0, "score": None},
    ]
    assert seen == [([("Why?", "So 1."), ("Why?", "2")], [("q0.png",), ("q1.png",)])]


def test_a_plain_judge_function_is_enough():
    scores = score_rows(lambda pairs: [1.0, 2.0], ITEMS, ROWS, sees=False)
    assert [each["score"] for each in scores] == [1.0, None, 2.0]


def test_where_a_server_is_found_is_no_setting_but_what_it_is_asked_is():
    def settings(url, **options):
        server = ServerConfig(**options)
        return JudgeConfig(f"openai:{url}#a/judge", server=server).settings()

    one = settings("http://here/v1", concurrency=3)
    assert one == settings("http://there:8000/v1", concurrency=9, retries=1)
    assert one["model"] == "openai:#a/judge"
    assert one != settings("http://here/v1", fields={"min_p": 0.1})


def test_a_model_without_a_word_for_yes_is_no_judge_of_that_kind(text_model, tmp_path):
    from sophia_jax.models.folder import save_model

    save_model(text_model, tmp_path / "model")
    config = JudgeConfig(str(tmp_path / "model"), kind="yes")
    with pytest.raises(InputError, match="judge: expected tokens that read yes or no"):
        open_judge(config, tmp_path / "replies")


def test_a_judge_here_is_not_asked_again_what_it_has_said(tmp_path):
    shards = AnswerShards(tmp_path, tuple(ITEMS.values()), 2, 2, has_scores=True)
    of_question = [row(name, n, f"{name} {n}") for name in ITEMS for n in range(2)]
    rest = dict.fromkeys(PREDICTIONS.names) | {"verdict": "right", "num_tokens": 3}
    rest |= {"kind": "", "level": "", "answer": "1"}
    shards.answers.write(0, [rest | each for each in of_question])
    asked = []

    def judge(killed_after):
        def reply(requests):
            for number, request in enumerate(requests):
                if number == killed_after:
                    raise KeyboardInterrupt
                asked.append(request.text)
                ids = np.zeros(1, np.int32)
                text = str(len(asked))
                yield Completion(request.group, 0, text, ids, None, None, "stop")

        return OpenJudge(JudgeConfig("here"), start=lambda make_room: reply)

    def run(killed_after=None):
        replies = tmp_path / "replies"
        judge_shards(judge(killed_after), shards, replies, make_room=lambda: None)

    with pytest.raises(KeyboardInterrupt):
        run(killed_after=3)
    assert len(set(asked)) == 3 and shards.scores.missing() == [0]
    run()
    assert len(asked) == len(set(asked)) == 4
    assert sorted(each["score"] for each in shards.scores.read(0)) == [1, 2, 3, 4]
