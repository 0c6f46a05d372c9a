"""What a policy answers of its own accord while it is aligned, and what that tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.config import SamplingConfig
from sophia_jax.data.examples import Example
from sophia_jax.data.preferences import Preference
from sophia_jax.evaluation.divergence import estimate_divergence
from sophia_jax.evaluation.diversity import (
    distinct_n,
    sequence_entropy,
    token_entropy,
)
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    Divergence,
    alpha_divergence,
)
from sophia_jax.models.model import Model
from sophia_jax.models.moving import move_model
from sophia_jax.recipes.preferences import question_names
from sophia_jax.seeds import group_seed
from sophia_jax.sharding import Partition
from sophia_jax.training.scoring import score_examples
from sophia_jax.types import Request

__all__ = [
    "DIVERGENCES",
    "OwnAnswers",
    "asked",
    "intervals",
    "measure_answers",
    "without_ends",
]

DIVERGENCES: Mapping[str, Divergence] = {
    "reverse_kl": REVERSE_KL,
    "js": JENSEN_SHANNON,
    "alpha_half": alpha_divergence(0.5),
    "forward_kl": FORWARD_KL,
}
RESAMPLES = 400
SLOTS = 64


@dataclass(frozen=True)
class OwnAnswers:
    """Fresh answers of the policy, scored by it and by the reference.

    At every look the same random numbers: what differs is the policy.

    Attributes:
      reference: π_ref, whole, where the policy learns.
      requests: of `asked`.
      longest: tokens that an answer may have.
      partition: where the policy is sampled; None for where it learns.
      scoring: as of `score_examples`.
    """

    reference: Model
    requests: Sequence[Request]
    longest: int
    partition: Partition | None
    scoring: Mapping[str, int]

    def __call__(self, policy: Model) -> dict[str, float]:
        """As of `measure_answers`.

        Args:
          policy: where it learns; a copy of it is sampled if that is elsewhere.
        """
        if self.partition in (None, policy.partition):
            sampled = policy
        else:
            sampled = move_model(policy, self.partition)
        engine = Engine(sampled, SamplingConfig(self.longest), slots=SLOTS)
        order = {request.group: n for n, request in enumerate(self.requests)}
        answers = sorted(
            engine(self.requests), key=lambda c: (order[c.group], c.sample)
        )
        prompts = [prompt.token_ids for prompt, _ in engine.prompts(self.requests)]
        engine.release(tuple(sampled.params))
        plain = [Example(prompts[order[c.group]], c.token_ids) for c in answers]
        images = [self.requests[order[c.group]].images for c in answers]
        own, reference = (
            score_examples(
                model, PicturedExamples(model, plain, images), **self.scoring
            )
            for model in (policy, self.reference)
        )
        cut_off = [each.finish_reason == "length" for each in answers]
        return measure_answers(plain, own, reference, cut_off)


def asked(
    preferences: Sequence[Preference], number: int, *, seed: int
) -> list[Request]:
    """Some questions of the pairs, so that about so many answers come of them.

    Args:
      preferences: of which each question is asked once.
      number: of answers; where questions are fewer, each is answered as often, and
        a few more answers than that may come.
      seed: of the answers.
    """
    questions: dict[str, Preference] = {}
    for name, each in zip(question_names(preferences), preferences, strict=True):
        questions.setdefault(name, each)
    some = list(questions.values())[:number]
    return [
        Request(
            group=each.id,
            text=each.question,
            system=each.system,
            images=each.images,
            num_samples=-(-number // len(some)),
            seed=group_seed(seed, 0, "own-answers", each.id),
        )
        for each in some
    ]


def measure_answers(
    answers: Sequence[Example],
    policy: Sequence[np.ndarray],
    reference: Sequence[np.ndarray],
    cut_off: Sequence[bool],
) -> dict[str, float]:
    """Divergences, entropy and diversity, from samples of the policy.

    Args:
      answers: at temperature 1, over all tokens.
      policy: log π_θ of each one's tokens, in nats.
      reference: likewise log π_ref.
      cut_off: whether each has reached its length limit: then entropy and divergences
        are those of what comes before it.

    Returns:
      Of each of `DIVERGENCES` `divergence_NAME`, and the ends of its 95 % interval
      `divergence_NAME_low` and `_high` (nats for the KL divergences);
      `sequence_entropy` (nats an answer), `token_entropy` (nats a token); `distinct_1`
      and `distinct_2`, shares in [0, 1]; `answer_tokens` and `answers_cut_off`.
    """
    own = np.array([each.sum(dtype=np.float64) for each in policy])
    ratio = own - np.array([each.sum(dtype=np.float64) for each in reference])
    tokens = [each.target_ids for each in answers]
    found = {}
    for name, divergence in DIVERGENCES.items():
        estimate = estimate_divergence(ratio, divergence, num_resamples=RESAMPLES)
        values = (estimate.value, *estimate.interval)
        found |= dict(zip(_names(name), values, strict=True))
    return found | {
        "sequence_entropy": sequence_entropy(own),
        "token_entropy": token_entropy(own, [len(each) for each in tokens]),
        "distinct_1": distinct_n(tokens, 1),
        "distinct_2": distinct_n(tokens, 2),
        "answer_tokens": float(np.mean([len(each) for each in tokens])),
        "answers_cut_off": float(np.mean(cut_off)),
    }


def intervals(look: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Of each divergence that a look has found."""
    names = [_names(name) for name in DIVERGENCES if _names(name)[0] in look]
    return {value: (look[low], look[high]) for value, low, high in names}


def without_ends(look: Mapping[str, float]) -> dict[str, float]:
    """A look without the ends of intervals."""
    ends = {end for name in DIVERGENCES for end in _names(name)[1:]}
    return {name: value for name, value in look.items() if name not in ends}


def _names(divergence: str) -> tuple[str, str, str]:
    """Of a value and of the ends of its interval."""
    name = f"divergence_{divergence}"
    return name, f"{name}_low", f"{name}_high"
