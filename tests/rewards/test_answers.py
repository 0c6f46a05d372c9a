"""Extraction and the fast path, the latter against math-verify itself."""

import itertools
import time

import pytest
from math_verify import parse, verify

from sophia_jax.rewards import compare_simple, extract_answer, same_text

# --- extract_answer ---


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"First \boxed{3}, then \boxed{4}.", "4"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed {\left\{ x^{2} \right\}}$", r"\left\{ x^{2} \right\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{\text{if } {x}}", r"\text{if } {x}"),
        (r"\\\boxed{7}", "7"),
        (r"\fbox{ 8 }", "8"),
        (r"\boxed{5} and then cut off: \boxed{1", "5"),
        (r"} \boxed{5} {", "5"),
        (r"I shall answer in \boxed{}. So \boxed{2}, in \boxed{ }.", "2"),
        ("\\boxed{\n6\n}", "6"),
    ],
)
def test_the_last_balanced_box_wins(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("## Final answer\n\n42\n", "42"),
        ("**Final Answer**\r\n\r\n**42**", "42"),
        ("**Final Answer:** 42", "42"),
        ("**Answer**: (B)", "(B)"),
        ("2 + 3 = 5. The answer is 5. I checked 17 cases.", "5"),
        ("The answer is 3.5 cm. Good.", "3.5 cm"),
        ("the final answer is **4.**", "4"),
        ("The answer to question 7 is: $x^2$.", "$x^2$"),
        ("Answer: 3\nWait.\nAnswer: 4", "4"),
        ("Final answer:\n$$\n\\frac{1}{2}\n$$\nDone.", r"\frac{1}{2}"),
        ("The answer is\n\\[ 9 \\]", "9"),
        ("Answer: -7", "-7"),
        ("Answer: yes", "yes"),
    ],
)
def test_without_a_box_the_last_announcement_wins(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Adding 3 and 4 gives 7.", "7"),
        ("so x = -3", "-3"),
        ("so 5-4", "4"),
        ("about 1,234.5 or so", "1,234.5"),
        ("it costs $12", "12"),
        ("a share of 3/4 of it", "3/4"),
        ("between 5, 6", "6"),
        ("x = \N{MINUS SIGN}2", "-2"),
        ("a probability of .25", ".25"),
        ("(D)\n\nExplanation: square C has 3 circles.", "D"),
        ("There are 3 circles.\n\n**D.**", "D"),
    ],
)
def test_without_an_announcement_the_last_number_wins(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text", ["", "   ", "I do not know.", "model X2b and H2O", "Final answer\n", "{}"]
)
def test_some_responses_give_no_answer(text):
    assert extract_answer(text) is None


def test_thinking_does_not_count_when_something_follows():
    assert extract_answer(r"<think>\boxed{1}</think> The answer is 2") == "2"
    assert extract_answer(r"\boxed{1}</think> so 2") == "2"  # opened by the prompt
    assert extract_answer(r"<think>\boxed{1}</think> I gave up.") is None


def test_thinking_counts_when_nothing_follows():
    assert extract_answer("<think>it is \\boxed{1}</think>\n ") == "1"


def test_thinking_that_never_ends_gives_no_answer():
    assert extract_answer(r"<think> maybe \boxed{1}") is None
    assert extract_answer(r"<think>a</think> \boxed{1} <think> or 2") is None


def test_an_answer_of_more_than_4096_characters_is_none():
    assert extract_answer(r"\boxed{" + "1" * 4096 + "}") == "1" * 4096
    assert extract_answer(r"\boxed{" + "1" * 4097 + "}") is None
    assert extract_answer("1" * 4097) is None


@pytest.mark.parametrize(
    "unit",
    [
        r"\boxed{",
        r"\boxed{}",
        r"\boxed ",
        "{",
        "answer ",
        "answer is ",
        "answer:",
        "final answer ",
        "final answer\n",
        "9",
        "1,111",
        "1/",
        "*",
        ".",
        "\\",
        "\n",
        " ",
        "<think></think>",
    ],
)
def test_extraction_takes_linear_time(unit):
    def seconds(num_chars):
        text = (unit * num_chars)[:num_chars]
        start = time.process_time()
        extract_answer(text)
        extract_answer(r"\boxed{" + text)
        extract_answer("Answer: " + text)
        same_text(text, "yes")
        compare_simple(text, text)
        return time.process_time() - start

    # Quadratic time would be 100 times as long, not 10 times; 0.1 s covers the noise.
    assert seconds(1_000_000) < 30 * seconds(100_000) + 0.1


# --- compare_simple ---

NUMBERS = [
    "0",
    "-0",
    "5",
    "-5",
    "+5",
    "5.",
    "005",
    "5.0",
    "$5$",
    " 5 ",
    "$5",
    "0.5",
    ".5",
    "0.50",
    "-0.5",
    "1/2",
    "2/4",
    "-1/2",
    "$1/2$",
    "1/3",
    "3/4",
    "0.75",
    "1,234",
    "1234",
    "1,234.50",
    "1234.5",
    "12,345,678",
    "12345678",
    "12345679",
    "100000000000000000000",
    "100000000000000000001",
    "0.1",
    "1/10",
    "0.12",
]
LETTERS = [*"ABCDEFGHIJ", "(A)", "(E)", "(I)", r"\text{B}", r"\textbf{E}", "A."]


def dollars(text):
    text = text.strip()
    return text if text.startswith("$") and text.endswith("$") else f"${text}$"


@pytest.mark.parametrize("options", [NUMBERS, LETTERS])
def test_the_fast_path_agrees_with_math_verify(options):
    parsed = {text: parse(dollars(text.strip().removesuffix("."))) for text in options}
    for prediction, answer in itertools.product(options, repeat=2):
        expected = verify(parsed[answer], parsed[prediction])
        assert compare_simple(prediction, answer) is expected, (prediction, answer)


@pytest.mark.parametrize(
    ("prediction", "answer", "equal"),
    [
        ("0.3333", "1/3", False),  # differ by 3e-5: more than rounding at the 6th digit
        ("0.333333", "1/3", None),  # math-verify rounds to 6 digits: its business
        ("33333333.3333333", "100000000/3", None),
        ("2/3", "666667/1000000", None),
        ("9" * 64, "9" * 64, True),
        ("9" * 65, "9" * 65, None),
        ("1/0", "1/0", None),
        ("x", "x", None),
        ("1,23", "123", None),
        ("0,123", "123", None),
        ("1e3", "1000", None),
        ("50%", "50", None),
        ("--5", "5", None),
        ("1/2/3", "1", None),
        ("1.5/2", "0.75", None),
        ("\N{ARABIC-INDIC DIGIT FIVE}", "5", None),
        ("", "5", None),
        ("5", "A", None),
        ("A", "5", None),
        ("K", "K", None),
        ("a", "A", None),
        ("AB", "A", None),
        (r"\text{5}", "5", True),
        ("(B) 12 cm", "B", True),
        ("B. 12 cm", "B", True),
        ("C: 12 cm", "B", False),
        ("B", "(B) 12 cm", None),
        ("Both", "B", None),
    ],
)
def test_what_is_decided_without_algebra(prediction, answer, equal):
    assert compare_simple(prediction, answer) is equal


# --- same_text ---


def test_words_are_the_same_in_any_case_and_spacing():
    assert same_text("Yes.", "yes")
    assert same_text(r"\text{Light  Blue}", "light blue")
    assert not same_text("blue", "light blue")


def test_where_a_letter_may_be_a_variable_case_matters():
    assert same_text("x + Y", "x + Y")
    assert not same_text("x + y", "x + Y")
    assert not same_text("a", "A")
