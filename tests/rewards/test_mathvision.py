"""MATH-Vision's rule, also against the verdicts of its own evaluation."""

import collections
import functools
import json
import os
import pathlib

import pytest

from sophia_jax.rewards import RULES, AnswerVerifier, verify_answer
from sophia_jax.rewards.mathvision import compare_official, judge_official
from sophia_jax.rewards.verify_worker import JUDGES


@pytest.mark.parametrize(
    ("prediction", "answer", "equal"),
    [
        ("B", "(B) 12", True),
        ("b", "B", True),
        (r"\text{B}", "(B) 12", True),
        ("12", "(B) 12", True),
        ("12.004", "(B) 12", True),  # 12.00 at two decimals
        ("12.006", "(B) 12", False),
        ("C", "(B) 12", False),
        ("(B) 12", "(B) 12", None),  # letter and value together are neither
        ("x = 12", "12", True),
        (r"12^\circ", "12", True),
        ("Monday", "(A) Monday", True),
        ("3,4", "(C) only 3,4 or 7", None),
        (r"\frac{1}{2}", "0.5", None),
        (r"8\mathrm{~m}", r"(A) $8 \mathrm{~m}$", None),
        ("", "5", False),
        ("$", "5", False),
    ],
)
def test_what_the_rule_decides_without_algebra(prediction, answer, equal):
    assert compare_official(prediction, answer) is equal


@pytest.mark.parametrize(
    ("prediction", "answer", "verdict"),
    [
        (r"\frac{1}{2}", "0.5", "right"),
        (r"\dfrac{\sqrt{5}-1}{2}", r"(B) $\frac{\sqrt{5} - 1}{2}$", "right"),
        ("0.62", r"(B) $\frac{\sqrt{5} - 1}{2}$", "right"),  # 0.618...
        ("0.61", r"(B) $\frac{\sqrt{5} - 1}{2}$", "wrong"),
        ("25\\pi", "78.54", "right"),
        ("96", r"(A) $3 \cdot 2^{5}$", "right"),
        ("8:5", "(E) $8: 5$", "right"),
        ("8:7", "(E) $8: 5$", "wrong"),
        ("(35, 44)", "(35,44)", "right"),
        ("(44, 35)", "(35,44)", "wrong"),
        ("[35, 44]", "(35,44)", "wrong"),
        (r"(\frac{1}{2}, 2)", "(0.5,2)", "right"),
        (r"8\mathrm{~m}", r"(A) $8 \mathrm{~m}$", "wrong"),  # no units
        ("(B) 12", "(B) 12", "wrong"),
        ("x+1", "x+1.001", "wrong"),
    ],
)
def test_latex_is_evaluated_and_rounded_to_two_decimals(prediction, answer, verdict):
    assert judge_official(prediction, answer) == verdict


def test_the_rule_is_chosen_by_name():
    response, answer = r"Its height is $\boxed{8 \mathrm{~m}}$.", r"(A) 800 cm"
    assert verify_answer(response, answer)
    assert not verify_answer(response, answer, rule="mathvision")
    assert verify_answer(r"\boxed{0.62}", r"\frac{\sqrt{5}-1}{2}", rule="mathvision")


def test_each_rule_has_both_halves():
    assert RULES.keys() == JUDGES.keys()


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match=r"rule: expected one of \['math', 'mathv"):
        AnswerVerifier(rule="guess")


# --- the 1,188 responses with official verdicts ---


@functools.cache
def official():
    """(response, answer, what the official script extracted, its verdict)."""
    shared = os.environ.get("SOPHIA_SHARED")
    if not shared:
        pytest.skip("SOPHIA_SHARED names no folder with data/mathvision")
    folder = pathlib.Path(shared, "data", "mathvision")
    items, responses = (
        [json.loads(line) for line in (folder / name).read_text().splitlines()]
        for name in ("items.jsonl", "responses.jsonl")
    )
    answers = {item["id"]: right_answer(item) for item in items}
    return [
        (
            response["response"],
            answers[response["item_id"]],
            response["official_extracted"],
            response["official_correct"],
        )
        for response in responses
    ]


def right_answer(item):
    letter = item["answer"]
    if not item["choices"]:
        return letter
    return f"({letter}) {item['choices'][ord(letter) - ord('A')]}"


def verdict_on(extracted, answer):
    equal = compare_official(extracted, answer)
    return judge_official(extracted, answer) == "right" if equal is None else equal


def test_the_rule_agrees_with_official_verdicts_on_official_extractions():
    cases = official()
    assert len(cases) == 1188
    differing = [
        (extracted, answer)
        for _, answer, extracted, verdict in cases
        if verdict_on(extracted, answer) != verdict
    ]
    # Officially "(b)" is read as b in a response, but not when it was "({b})".
    assert differing == [("(b)", "(B) B")]


def test_from_response_to_verdict_the_rule_differs_in_five_cases():
    cases = official()
    with AnswerVerifier(rule="mathvision") as verifier:
        verdicts = verifier.verify([(case[0], case[1]) for case in cases])
    differing = [
        (case[2][:20], bool(verdict))
        for case, verdict in zip(cases, verdicts, strict=True)
        if bool(verdict) is not case[3]
    ]
    # Each time the official script misses the right answer that the response gives.
    assert sorted(differing) == [
        ("(b)", True),  # (\text{B})
        ("-2.b", True),  # -2, and the choice on a line of its own
        ("120votescastalltoget", True),
        ("bfa", True),  # \textbf{A}
        ("sorry,asatext-baseda", True),
    ]


def test_what_is_officially_right_is_right_by_the_default_rule_too():
    cases = official()
    with AnswerVerifier() as verifier:
        verdicts = verifier.verify([(case[0], case[1]) for case in cases])
    tally = collections.Counter(
        (verdict.value, case[3]) for case, verdict in zip(cases, verdicts, strict=True)
    )
    # The others give units, or the letter with the value: "(B) 96".
    assert tally == {
        ("right", True): 169,
        ("right", False): 40,
        ("wrong", False): 979,
    }
