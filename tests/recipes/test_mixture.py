"""What the update learns from: right answers only, each part in its share."""

import dataclasses
from collections import Counter

import jax
import numpy as np
import pytest

from sophia_jax.data.digits import compose_picture, split_scans
from sophia_jax.data.prompts import DIGITS
from sophia_jax.recipes.handwriting import (
    base_model,
    make_tokenizer,
    text_questions,
)
from sophia_jax.recipes.mixture import MixtureConfig, answer_texts, mix
from sophia_jax.rewards.math_verify import Verdict
from sophia_jax.types import Completion, InputError, Item


def boxed(answer):
    return f"<think>steps</think>\\boxed{{{answer}}}"


class Reasoner:
    """Right on every second question."""

    def __init__(self, questions):
        self.answers = {item.id: item.answer for item in questions}
        self.asked = 0

    def __call__(self, requests):
        for number, request in enumerate(requests):
            self.asked += 1
            answer = self.answers[request.group] if number % 2 == 0 else "-1"
            yield Completion(
                group=request.group,
                sample=0,
                text=boxed(answer),
                token_ids=np.zeros(3, np.int32),
                behavior_log_probs=np.zeros(3, np.float32),
                policy_log_probs=None,
                finish_reason="stop",
            )


def verify(pairs):
    return [
        Verdict.RIGHT if text == boxed(answer) else Verdict.WRONG
        for text, answer in pairs
    ]


@pytest.fixture(scope="module")
def questions():
    return text_questions(DIGITS, 0, 10)


@pytest.fixture(scope="module")
def policy():
    return base_model(jax.random.key(0), make_tokenizer(DIGITS, 0))


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(3):
        numbers = (61 + number, 20)
        picture, _ = compose_picture(rng, numbers, split_scans().training, distort=True)
        picture.save(folder / f"{number}.png")
    return [
        Item(
            id=f"q{number}",
            question="What is the sum of the numbers?",
            answer=str(81 + number),
            images=(str(folder / f"{number}.png"),),
            caption=f"{61 + number}\n20",
        )
        for number in range(3)
    ]


def selection(kept):
    return [
        {"question_id": f"q{n}", "kept": n < kept, "text": boxed(81 + n), "reward": 1.0}
        for n in range(3)
    ]


def test_only_right_answers_are_learnt_and_none_is_asked_for_twice(questions, tmp_path):
    reasoner = Reasoner(questions)
    rows = answer_texts(tmp_path / "texts", reasoner, verify, questions, seed=0)
    assert [row["question_id"] for row in rows] == [q.id for q in questions[::2]]
    assert reasoner.asked == 10
    again = answer_texts(tmp_path / "texts", reasoner, verify, questions, seed=0)
    assert again == rows
    assert reasoner.asked == 10


def test_every_part_comes_in_its_share(policy, items, questions, tmp_path):
    texts = answer_texts(tmp_path, Reasoner(questions), verify, questions, seed=0)
    config = MixtureConfig(trajectories=3, texts=2, captions=1, facts=4)
    mixture = mix(policy, items, selection(2), texts, DIGITS, config, seed=0)
    assert {**mixture.sizes, "facts": 0} == {
        "trajectories": 2,
        "texts": 5,
        "captions": 3,
        "facts": 0,
    }
    assert mixture.shares == {
        "trajectories": 0.3,
        "texts": 0.2,
        "captions": 0.1,
        "facts": 0.4,
    }
    said = Counter()
    for example in (mixture.examples[index] for index in range(100)):
        text = policy.tokenizer.decode(example.target_ids)
        if example.num_tiles:
            said["trajectories" if "boxed" in text else "captions"] += 1
        else:
            said["texts" if "boxed" in text else "facts"] += 1
        assert example.reward == 1
    assert said == {"trajectories": 30, "texts": 20, "captions": 10, "facts": 40}


def test_nothing_kept_is_an_error(policy, items, tmp_path):
    with pytest.raises(InputError, match="expected a kept trajectory .* 0 of 3"):
        mix(policy, items, selection(0), [], DIGITS, MixtureConfig(), seed=0)


def test_a_part_that_is_empty_is_reported_as_such(policy, items):
    config = MixtureConfig(trajectories=3, texts=2, captions=1, facts=4)
    mixture = mix(policy, items, selection(2), [], DIGITS, config, seed=0)
    assert mixture.sizes["texts"] == mixture.shares["texts"] == 0
    assert mixture.shares == {
        "trajectories": 3 / 8,
        "texts": 0,
        "captions": 1 / 8,
        "facts": 4 / 8,
    }


def test_texts_that_think_between_tags_are_learnt_with_the_system_prompt(policy, items):
    prompts = dataclasses.replace(DIGITS, system="Add.")
    texts = [
        {"question": "1 + 1", "response": boxed(2)},
        {"question": "2 + 2", "response": r"\boxed{4}"},
    ]
    mixture = mix(policy, items, selection(1), texts, prompts, MixtureConfig(), seed=0)
    asked = {
        policy.tokenizer.decode(example.prompt_ids)
        for example in (mixture.examples[index] for index in range(60))
        if not example.num_tiles
    }
    start, end = "<|im_start|>", "<|im_end|>"
    assert f"{start}Add.{end}{start}1 + 1{end}" in asked
    assert f"{start}2 + 2{end}" in asked


def test_no_text_question_has_a_picture_or_a_negative_answer():
    asked = text_questions(DIGITS, 1, 500)
    assert len({item.id for item in asked}) == 500
    assert all(not item.images and int(item.answer) >= 0 for item in asked)
    assert set(Counter(item.kind for item in asked).values()) == {100}


@pytest.mark.parametrize("field", ["trajectories", "texts", "captions", "facts"])
def test_shares_of_zero_are_refused(field):
    with pytest.raises(ValueError, match=f"{field}: expected > 0, got 0"):
        MixtureConfig(**{field: 0})
