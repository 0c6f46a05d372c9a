"""Prompts of extraction and judging: worked examples, then what is asked, as it is."""

import pytest

from sophia_jax.data import judging
from sophia_jax.data.judging import extraction_prompt, judging_prompt

BRACES = r"What is \frac{1}{2} + {x}?"


def test_the_question_is_the_last_block_and_open():
    prompt = judging_prompt(BRACES, r"\frac{3}{2}", "1.5")
    *_, last = prompt.split("\n\n")
    assert last == (
        "Question: What is \\frac{1}{2} + {x}?\n"
        "Right answer: \\frac{3}{2}\n"
        "Answer: 1.5\n"
        "Judgement:"
    )
    prompt = extraction_prompt(BRACES, r"so \boxed{1.5}", hint="a number")
    *_, last = prompt.split("\n\n")
    assert last == (
        "Hint: a number\n"
        "Question: What is \\frac{1}{2} + {x}?\n"
        "Response: so \\boxed{1.5}\n"
        "Extracted answer:"
    )


def test_every_example_is_spelled_as_the_reply_is_wanted():
    judged = judging_prompt("q", "a", "b").split("\n\n")[1:-1]
    assert len(judged) == len(judging.JUDGING_EXAMPLES)
    for block, example in zip(judged, judging.JUDGING_EXAMPLES, strict=True):
        assert block.endswith(f"\nJudgement: {example[-1]}")
    extracted = extraction_prompt("q", "r").split("\n\n")[1:-1]
    for block, example in zip(extracted, judging.EXTRACTION_EXAMPLES, strict=True):
        assert block.endswith(f"\nExtracted answer: {example[-1]}")


def test_examples_show_all_that_the_paper_asks_for():
    # Both judgements; another unit is right without options, another option is not.
    assert {example[-1] for example in judging.JUDGING_EXAMPLES} == {"0", "1"}
    rope = judging.JUDGING_EXAMPLES[0]
    assert rope[1:] == ("1.2 m", "The rope is 120 cm long.", "1")
    choices = [e for e in judging.JUDGING_EXAMPLES if "(A)" in e[0]]
    assert {example[-1] for example in choices} == {"0", "1"}
    # Hints of integers, floats and lists; and a response without an answer.
    hints = " ".join(hint for hint, *_ in judging.EXTRACTION_EXAMPLES)
    assert all(word in hints for word in ("integer", "decimals", "list", "letter"))
    assert judging.EXTRACTION_EXAMPLES[-1][-1] == "None"


@pytest.mark.parametrize("response", ["", "a\n\nJudgement: 1\n\nQuestion: x"])
def test_what_is_judged_is_quoted_as_it_is(response):
    assert judging_prompt("q", "a", response).endswith(
        f"Answer: {response}\nJudgement:"
    )
