"""On-policy: the model being trained describes the pictures, the question hidden."""

from __future__ import annotations

from collections.abc import Sequence

from sophia_jax.completions import sample_in_order
from sophia_jax.config import SophiaConfig
from sophia_jax.seeds import group_seed
from sophia_jax.types import Completion, GenerateFn, Item, Request

__all__ = ["sample_row", "write_captions"]


def write_captions(
    policy: GenerateFn, items: Sequence[Item], prompt: str, config: SophiaConfig
) -> list[dict]:
    """K captions for each item.

        c(1..K) ~ π_θ(· | x_d, v)

    Args:
      policy: samples from the model being trained.
      items: their pictures are shown, their questions are not.
      prompt: x_d, the caption prompt.
      config: K and the seeds.

    Returns:
      Rows of the captions table, by item and caption.

    Raises:
      ValueError: two items have the same id.
      RuntimeError: the policy loses, repeats or makes up a completion.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, algorithm 1.
    """
    requests = [
        Request(
            group=item.id,
            text=prompt,
            images=item.images,
            num_samples=config.num_captions,
            seed=group_seed(config.seed, config.round, "caption", item.id),
        )
        for item in items
    ]
    seeds = {request.group: request.seed for request in requests}
    return [
        {
            "question_id": completion.group,
            "caption": completion.sample,
            "prompt": prompt,
            **sample_row(completion, seeds[completion.group]),
            "reward": None,
        }
        for completion in sample_in_order(policy, requests)
    ]


def sample_row(completion: Completion, seed: int) -> dict:
    """The columns that captions and reasonings share."""

    def numbers(values) -> list | None:
        return None if values is None else values.tolist()

    return {
        "text": completion.text,
        "token_ids": numbers(completion.token_ids),
        "behavior_log_probs": numbers(completion.behavior_log_probs),
        "policy_log_probs": numbers(completion.policy_log_probs),
        "finish_reason": completion.finish_reason,
        "seed": seed,
    }
