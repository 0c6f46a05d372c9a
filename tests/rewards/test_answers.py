"""Extraction: what counts as the answer of a response."""

import time

import pytest

from sophia_jax.rewards import compare_simple, extract_answer, same_text


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
    ("text", "answer"),
    [
        ("The path with 3 turns is (C).", "C"),
        ("The boat that belongs to Sara is option (C).", "C"),
        ("An elastic band tied in a knot is C)", "C"),
        ("It has 3 sides.\n$$(B)$$", "B"),
        ("So option b is the correct one of 4.", "B"),
        ("So option b is correct, 4 are not.", "B"),
        ("Of 4, the correct choice is (D) 5 cm.", "(D) 5 cm"),
        ("(B) III, IV and V", "(B) III, IV and V"),
        ("(A) has 7 cubes.\n(B) has 8 cubes.", "8"),
        ("The tree should be planted in region A.", "A"),
        ("Since it is not A, it must be B.", "B"),
        ("The figure that does not fit is B", "B"),
        ("Of 26 pictures, it is (K).", "K"),
        ("I counted 3.\n**K**", "K"),
        ("(K) 12 cm", "(K) 12 cm"),
    ],
)
def test_a_choice_that_is_not_announced_is_found_by_its_place(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"The sum is $\frac{1}{2}$.", r"\frac{1}{2}"),
        (r"So \(x = \sqrt{3}\) follows.", r"x = \sqrt{3}"),
        ("Hence\n\\[\n y = 2x + 1. \n\\]", "y = 2x + 1"),
        (
            "The matrix is $$\\begin{pmatrix} 1 & 2 \\end{pmatrix}$$",
            "\\begin{pmatrix} 1 & 2 \\end{pmatrix}",
        ),
        ("Of 5 lines, it is $a + b$.", "a + b"),
        ("Since $x = 2$, there are 7 of them.", "7"),
        ("It rose from $5 to $6 today.", "6"),
        ("Of 5 lines, it is line $a$.", "5"),
        (r"\frac{10}{9}", r"\frac{10}{9}"),
        ("1 000", "1 000"),
        ("11 5/6", "11 5/6"),
        ("(3, 4)", "(3, 4)"),
        ("Environ 2,74 en tout", "2,74"),
    ],
)
def test_a_number_in_a_formula_stands_for_the_formula(text, answer):
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text", ["", "   ", "I do not know.", "model X2b and H2O", "Final answer\n", "{}"]
)
def test_some_responses_give_no_answer(text):
    assert extract_answer(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "It is (A) or (B).",
        "It could be A or B",
        "I am torn between A and B",
        "Either (A), (B)",
        "It might be option A or option B.",
        "The answer cannot be B",
        "It isn't B.",
        "It is definitely not (B).",
    ],
)
def test_letters_that_are_denied_or_one_of_several_are_no_answer(text):
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
        "$",
        "$1 ",
        "\\(",
        "\\[1",
        r"\text{",
        "(A) ",
        "option A is ",
        "1, ",
        "1:",
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
