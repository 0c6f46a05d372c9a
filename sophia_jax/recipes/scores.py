"""How well the quickstart's two models do on the held-out questions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from sophia_jax.config import SamplingConfig
from sophia_jax.data.prompts import Prompts
from sophia_jax.evaluation.evaluate import (
    answer_questions,
    read_captions,
    save_evaluation,
    summarize,
)
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.recipes.sizes import QuickstartConfig
from sophia_jax.types import Item, RewardFn

__all__ = ["score_policy", "score_reasoner"]

TOP_P = 0.8  # of evaluation, as in the paper


def score_policy(
    folder: Path,
    model: Model,
    verify: RewardFn,
    items: Sequence[Item],
    prompts: Prompts,
    config: QuickstartConfig,
) -> dict:
    """pass@1 at temperature 1.0 and top-p 0.8, and the captions' accuracy.

    Args:
      folder: where the answers and the summary are kept.
      model: that is shown the pictures.
      verify: judges the answers.
      items: the held-out questions, with true captions.
      prompts: of the loop.
      config: of the answers' and captions' lengths, and the seed.

    Returns:
      What is written to the folder's `summary.json`.
    """
    answerer, captioner = (
        Engine(
            model, SamplingConfig(each.max_new_tokens, top_p=TOP_P), slots=config.slots
        )
        for each in (config.reasonings, config.captions)
    )
    seed = config.sophia.seed
    rows = answer_questions(answerer, verify, items, seed=seed, system=prompts.system)
    rows = read_captions(captioner, items, rows, prompt=prompts.caption, seed=seed)
    summary = summarize(rows)
    save_evaluation(folder, rows, summary)
    return summary


def score_reasoner(
    model: Model,
    verify: RewardFn,
    items: Sequence[Item],
    prompts: Prompts,
    config: QuickstartConfig,
) -> dict:
    """How often the reasoner is right on true captions, sampled as in rollouts.

    Args:
      model: the reasoner.
      verify: judges the answers.
      items: the held-out questions, with true captions.
      prompts: of the loop.
      config: of the reasoner's sampling, and the seed.

    Returns:
      The accuracy, its interval, the number of questions, and the same by kind.
    """
    told = [
        dataclasses.replace(
            item,
            question=prompts.reasoner.format(
                caption=item.caption, question=item.question
            ),
            images=(),
        )
        for item in items
    ]
    reasoner = Engine(model, config.reasonings, slots=config.slots)
    rows = answer_questions(reasoner, verify, told, seed=config.sophia.seed)
    summary = summarize(rows)
    return {
        "accuracy_on_true_captions": summary["pass@1"],
        "num_questions": summary["num_questions"],
        "interval": summary["interval"],
        "by_kind": summary["by_kind"],
    }
