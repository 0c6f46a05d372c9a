"""Short words of four letters: so few that all of them, and their rewards, are known.

A prompt asks for a word. Which words are usual, and which are good, is drawn for each
prompt from the seed; a word is worth what its neighbouring letters are worth.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from sophia_jax.models.tokenizer import END
from sophia_jax.types import Float, Int

__all__ = [
    "LONGEST",
    "PROMPTS",
    "VOCAB_SIZE",
    "Answers",
    "END_ID",
    "LETTERS",
    "WordTask",
    "all_answers",
    "answer_number",
    "draw_task",
    "make_tokenizer",
    "raw_rewards",
    "usual_words",
    "words_of",
]

LETTERS = "abcd"
PROMPTS = ("ab", "ba", "cd", "dc")
LONGEST = 6  # tokens of an answer; one that has not ended by then is cut off
END_ID = START = len(LETTERS)  # the end as what follows, the beginning as what precedes
VOCAB_SIZE = len(LETTERS) + 1
CUT_OFF = -1.0  # what a word without an end earns less
ENDS = 0.15  # least probability that a usual word ends after a letter


@dataclass(frozen=True)
class Answers:
    """Everything that can be answered: words in the order of their length, then those
    that were cut off.

    Attributes:
      token_ids: Int[answer LONGEST], the end token included; -1 after it.
      lengths: Int[answer], tokens.
    """

    token_ids: np.ndarray
    lengths: np.ndarray

    @property
    def cut_off(self) -> np.ndarray:
        """Bool[answer]"""
        last = self.token_ids[:, -1]
        return (last >= 0) & (last != END_ID)


@dataclass(frozen=True)
class WordTask:
    """What is usual and what is good, of each prompt.

    Attributes:
      usual: Float[prompt before after], the probability of a letter (or of the end)
        after another (or after nothing).
      worth: Float[prompt before after], of two neighbours.
    """

    usual: np.ndarray
    worth: np.ndarray


def draw_task(seed: int) -> WordTask:
    """A task of its own for each seed."""
    rng = np.random.default_rng((seed, 0))
    shape = len(PROMPTS), VOCAB_SIZE
    letters = rng.dirichlet(np.ones(len(LETTERS)), shape)
    ends = rng.uniform(ENDS, 2 * ENDS, (*shape, 1))
    ends[:, START] = 0.02  # words of no letter are rare
    usual = np.concatenate([letters * (1 - ends), ends], axis=2)
    # Nothing is so rare that a model could not learn that it exists.
    usual = 0.95 * usual + 0.05 / VOCAB_SIZE
    return WordTask(usual=usual, worth=rng.normal(size=(*shape, VOCAB_SIZE)))


@functools.cache
def all_answers() -> Answers:
    """The 1 + 4 + ... + 4^5 words that end, and the 4^6 that do not."""
    rows = []
    for length in range(LONGEST + 1):
        digits = words_of(length)
        ends = np.full((len(digits), min(1, LONGEST - length)), END_ID)
        rest = np.full((len(digits), max(0, LONGEST - length - 1)), -1)
        rows.append(np.concatenate([digits, ends, rest], axis=1))
    token_ids = np.concatenate(rows).astype(np.int32)
    return Answers(token_ids=token_ids, lengths=(token_ids >= 0).sum(1))


def words_of(length: int) -> Int[np.ndarray, "word letter"]:
    """All words of so many letters, the last letter changing fastest."""
    letters = np.indices((len(LETTERS),) * length, np.int32)
    return letters.reshape(length, len(LETTERS) ** length).T


def answer_number(token_ids: np.ndarray) -> int:
    """Where an answer stands in `all_answers`.

    Raises:
      ValueError: it is none of them.
    """
    ended = len(token_ids) > 0 and token_ids[-1] == END_ID
    letters = [int(token) for token in token_ids[: len(token_ids) - ended]]
    whole = len(letters) < LONGEST if ended else len(letters) == LONGEST
    if not whole or not all(0 <= letter < len(LETTERS) for letter in letters):
        raise ValueError(f"token_ids: expected an answer of the task, got {token_ids}")
    shorter = sum(len(LETTERS) ** length for length in range(len(letters)))
    return shorter + functools.reduce(lambda n, x: n * len(LETTERS) + x, letters, 0)


def raw_rewards(task: WordTask) -> Float[np.ndarray, "prompt answer"]:
    """The mean worth of an answer's neighbours, its two ends included.

    r(x, y) = 1/|y| Σ_l worth(x, y_{l-1}, y_l), less 1 where y was cut off
    """
    answers = all_answers()
    after = answers.token_ids
    before = np.pad(after[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    worth = np.where(after >= 0, task.worth[:, before, after], 0)
    return worth.sum(2) / answers.lengths + CUT_OFF * answers.cut_off


def usual_words(
    task: WordTask, rng: np.random.Generator, prompt: int, number: int
) -> list[str]:
    """Words as they are usually answered, each of fewer than `LONGEST` letters."""
    words = []
    while len(words) < number:
        letters = [START]
        while len(letters) <= LONGEST:
            letters.append(rng.choice(VOCAB_SIZE, p=task.usual[prompt, letters[-1]]))
            if letters[-1] == END_ID:
                words.append("".join(LETTERS[letter] for letter in letters[1:-1]))
                break
    return words


def make_tokenizer() -> Any:
    """A token for each letter, and one for the end, which also ends a prompt."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate([*LETTERS, END])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=END))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=END
    )
    fast.chat_template = (
        "{% for message in messages %}{{ message.content }}" + END + "{% endfor %}"
    )
    return fast
