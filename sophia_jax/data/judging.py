"""What a language model is asked that reads answers out of responses, or judges them.

The examples are our own; the papers say what kinds of them there are.
"""

from __future__ import annotations

__all__ = ["extraction_prompt", "judging_prompt"]

EXTRACTION = (
    "Read the response to a question and copy its final answer, in the form that the "
    "hint asks for, and nothing else. Do not solve the question, and do not correct "
    "the response. If it comes to no answer, write None."
)

# (hint, question, response, extracted answer)
EXTRACTION_EXAMPLES = (
    (
        "an integer",
        "How many bars are taller than 20?",
        "The bars at Monday, Thursday and Friday pass the line at 20, so there are "
        "three of them.",
        "3",
    ),
    (
        "a number with two decimals",
        "What is the slope of the line?",
        "It rises by 1 from x = 0 to x = 3, so its slope is 1/3, about 0.333.",
        "0.33",
    ),
    (
        "a list of integers",
        "Between which two years did sales fall?",
        "Looking at the curve again, it goes down only once, from 2007 to 2008.",
        "[2007, 2008]",
    ),
    (
        "the letter of an option",
        "Which solid is shown?\n(A) cone\n(B) prism\n(C) pyramid",
        "All sides meet in one point over a square, which makes it a pyramid.",
        "C",
    ),
    (
        "an integer",
        "How large is the angle at C, in degrees?",
        "The angle at C follows from the other two, and the angle at A is",
        "None",
    ),
)

JUDGING = (
    "Judge whether an answer to a question agrees with the right answer. Write 1 if it "
    "does and 0 if it does not, and nothing else. Only the result counts, not how it "
    "is written: 0.5 agrees with 1/2. Where the question offers no options, the same "
    "quantity in another unit agrees too, and a unit may be missing. Where it offers "
    "options, the option must be the right one, by its letter or by what it says."
)

# (question, right answer, answer, judgement)
JUDGING_EXAMPLES = (
    ("How long is the rope in the picture?", "1.2 m", "The rope is 120 cm long.", "1"),
    ("What part of the circle is shaded?", r"\frac{3}{4}", "75%", "1"),
    ("How many birds sit on the wire?", "7", "There are 8 birds.", "0"),
    ("What is the mass of the block?", "2 kg", "2 g", "0"),
    (
        "Which line is the longest?\n(A) AB = 1 m\n(B) CD = 100 mm\n(C) EF = 90 cm",
        "A",
        "It is AB, with 1 m.",
        "1",
    ),
    (
        "How long is the rope?\n(A) 12 m\n(B) 1.2 m\n(C) 0.12 m",
        "B",
        "A: 12 m",
        "0",
    ),
)


def extraction_prompt(
    question: str, response: str, *, hint: str = "as short as can be"
) -> str:
    """Asks for the final answer of a response, with worked examples.

    Args:
      question: what was asked.
      response: what a model wrote; it is quoted as it is.
      hint: the form of the answer, such as "an integer" or "a list of integers".

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, evaluation and appendix.
    """
    examples = (*EXTRACTION_EXAMPLES, (hint, question, response, ""))
    return "\n\n".join(
        [
            EXTRACTION,
            *(
                f"Hint: {hint}\nQuestion: {question}\nResponse: {response}\n"
                f"Extracted answer: {extracted}".rstrip()
                for hint, question, response, extracted in examples
            ),
        ]
    )


def judging_prompt(question: str, answer: str, prediction: str) -> str:
    """Asks whether a prediction agrees with the right answer: 1 or 0.

    Args:
      question: what was asked, with its options where it has them.
      answer: the right one.
      prediction: the answer to be judged; it is quoted as it is.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, evaluation and appendix.
    """
    examples = (*JUDGING_EXAMPLES, (question, answer, prediction, ""))
    return "\n\n".join(
        [
            JUDGING,
            *(
                f"Question: {question}\nRight answer: {right}\nAnswer: {given}\n"
                f"Judgement: {judgement}".rstrip()
                for question, right, given, judgement in examples
            ),
        ]
    )
