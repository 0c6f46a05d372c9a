"""On-policy: groups of answers to one question each, and what they come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sophia_jax.completions import judge_completions, sample_in_order
from sophia_jax.config import GrpoConfig
from sophia_jax.data.packing import Example
from sophia_jax.generation.prompts import Prompt
from sophia_jax.seeds import group_seed
from sophia_jax.training.objectives import ADVANTAGE, BEHAVIOR, SAMPLER
from sophia_jax.types import Array, Completion, GenerateFn, Item, Request, RewardFn

__all__ = [
    "Advantages",
    "AnswerGroup",
    "answer_examples",
    "ask",
    "draw_questions",
    "group_metrics",
    "sample_groups",
]


Advantages = Callable[[Array], Array]
"""Rewards [group sample] -> advantages [group sample]; `group_advantages`,
`functools.partial(group_advantages, normalize=False)`, `leave_one_out_advantages`."""


@dataclass(frozen=True)
class AnswerGroup:
    """The answers to one question.

    Attributes:
      item: the question.
      request: how it was asked.
      completions: the answers, with their log-probabilities.
      verdicts: of each, as of `judge_completions`.
    """

    item: Item
    request: Request
    completions: tuple[Completion, ...]
    verdicts: tuple[str, ...]

    @property
    def rewards(self) -> np.ndarray:
        """Float32[sample]: 1 for what is right, else 0; also if it is undecided."""
        return np.array([verdict == "right" for verdict in self.verdicts], np.float32)

    @property
    def is_equal(self) -> bool:
        """Whether all answers earned the same, so that none is better than another."""
        return len(set(self.rewards.tolist())) == 1


def draw_questions(items: Sequence[Item], step: int, config: GrpoConfig) -> list[Item]:
    """The questions of a step: each epoch has all of them once, in a new order.

    An epoch has as many whole steps as there are questions for; those left over wait
    for another one's order. So no question comes twice in a step.

    Args:
      items: all questions, at least as many as in a step.
      step: from 0.
      config: how many in a step, and the seed of the orders.
    """
    number = config.num_questions
    epoch, place = divmod(step, len(items) // number)
    order = np.random.default_rng((config.seed, epoch)).permutation(len(items))
    chosen = order[place * number : (place + 1) * number]
    return [items[index] for index in chosen]


def ask(items: Sequence[Item], step: int, config: GrpoConfig) -> list[Request]:
    """The questions as they are put to the policy, with random seeds of this step."""
    return [
        Request(
            group=item.id,
            text=item.question,
            system=config.system,
            images=item.images,
            num_samples=config.num_answers,
            seed=group_seed(config.seed, step, "on-policy", item.id),
        )
        for item in items
    ]


def sample_groups(
    generate: GenerateFn,
    verify: RewardFn,
    items: Sequence[Item],
    requests: Sequence[Request],
) -> list[AnswerGroup]:
    """Answers y(1..N) ~ μ(· | x_q, v) to each question, and whether each is right.

    An answer that was cut off is wrong, whatever it says.

    Args:
      generate: samples from the current policy.
      verify: judges (response, answer) pairs.
      items: the questions.
      requests: of `ask`, one for each question.

    Returns:
      One group for each question, in their order.

    Raises:
      RuntimeError: the policy loses a completion.
      Preempted: the run was told to stop.
    """
    completions = sample_in_order(generate, requests)
    asked = [
        item
        for item, r in zip(items, requests, strict=True)
        for _ in range(r.num_samples)
    ]
    verdicts = judge_completions(verify, completions, [item.answer for item in asked])
    groups, first = [], 0
    for item, request in zip(items, requests, strict=True):
        its = slice(first, first + request.num_samples)
        first = its.stop
        groups.append(
            AnswerGroup(item, request, tuple(completions[its]), tuple(verdicts[its]))
        )
    return groups


def answer_examples(
    groups: Sequence[AnswerGroup],
    prompts: Sequence[Prompt],
    advantages: Advantages,
    *,
    image_tokens: int,
) -> list[Example]:
    """What an update learns from: (image, question) -> answer, token for token.

    Its signals are the advantage, log μ and the sampler's log π_θ; its reward is r.

    Args:
      groups: of one size.
      prompts: of each group's request, as they were read.
      advantages: of rewards.
      image_tokens: of a tile.

    Returns:
      One example for each answer.
    """
    rewards = np.stack([group.rewards for group in groups])
    gains = np.asarray(advantages(rewards))
    return [
        Example(
            prompt.token_ids,
            answer.token_ids,
            None if shown is None else shown.reshape(-1, image_tokens, shown.shape[-1]),
            reward=float(reward),
            signals={
                ADVANTAGE: float(gain),
                BEHAVIOR: answer.behavior_log_probs,
                SAMPLER: answer.policy_log_probs,
            },
        )
        for group, prompt, its_gains in zip(groups, prompts, gains, strict=True)
        for shown in [prompt.image_embeds]
        for answer, reward, gain in zip(
            group.completions, group.rewards, its_gains, strict=True
        )
    ]


def group_metrics(groups: Sequence[AnswerGroup]) -> dict[str, float]:
    """What the answers of a step came to.

    Returns:
      Shares in [0, 1]: `reward`, the mean; `all_right` and `all_wrong`, the groups in
      which no answer is better than another; `truncated` and `undecided`, of the
      answers. `answer_tokens`, their mean length; and `entropy`, the mean of -log π_θ
      over all sampled tokens, in nats: at temperature 1 and top-p 1 an estimate of the
      policy's entropy per token.
    """
    rewards = np.concatenate([group.rewards for group in groups])
    answers = [each for group in groups for each in group.completions]
    verdicts = [verdict for group in groups for verdict in group.verdicts]
    log_probs = np.concatenate([each.policy_log_probs for each in answers])

    def share(found: Sequence[bool]) -> float:
        return float(np.mean(found))

    return {
        "reward": float(rewards.mean(dtype=np.float64)),
        "all_right": share([bool(group.rewards.all()) for group in groups]),
        "all_wrong": share([not group.rewards.any() for group in groups]),
        "truncated": share([each.finish_reason == "length" for each in answers]),
        "undecided": share([verdict == "undecided" for verdict in verdicts]),
        "answer_tokens": len(log_probs) / len(answers),
        "entropy": -float(log_probs.mean(dtype=np.float64)),
    }
