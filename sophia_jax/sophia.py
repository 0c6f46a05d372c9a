"""SOPHIA: semi-off-policy reinforcement learning for vision-language slow thinking.

    caption    K captions per image, by the policy, the question hidden    (on-policy)
    reason     N slow-thinking answers per caption, by a frozen reasoner   (off-policy)
    verify     is the answer right?  R(y) in {0, 1}
    propagate  a caption's reward is the mean of its reasonings'  R(c) = 1/N sum R(y)
    select     the shortest right reasoning under a caption with R(c) > alpha
    update     policy gradient on (image, question) -> reasoning, weighted by the reward

One collection, then one update phase, as in the paper's algorithm 1. Every stage leaves
a table behind and goes on from it, so the stages may run at different times.

Reference: Shen et al., 2025, https://arxiv.org/abs/2507.16814.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from sophia_jax.config import SophiaConfig
from sophia_jax.data.images import count_tiles
from sophia_jax.data.packing import Example
from sophia_jax.data.prompts import Prompts, encode_prompt, encode_target
from sophia_jax.generation.pictured import PicturedExamples
from sophia_jax.models.model import Model
from sophia_jax.rollouts.captions import write_captions
from sophia_jax.rollouts.choice import Choose, check_choice, shortest
from sophia_jax.rollouts.reasoning import write_reasonings
from sophia_jax.rollouts.selection import select_trajectories
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sharding.together import my_shards, wait_for_all
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig, train
from sophia_jax.training.step import Objective
from sophia_jax.types import GenerateFn, InputError, Item, RewardFn, Track, untracked

__all__ = [
    "caption_pictures",
    "collect_rollouts",
    "reason_from_captions",
    "select_and_store",
    "trajectory_examples",
    "update_policy",
]


def collect_rollouts(
    policy: GenerateFn,
    reasoner: GenerateFn,
    verify: RewardFn,
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None,
    tables: RolloutTables,
    prompts: Prompts,
    config: SophiaConfig,
    *,
    choose: Choose = shortest,
    track: Track = untracked,
) -> None:
    """Captions, reasonings and the selection for all of the tables' questions.

    The behaviour μ is semi-off-policy: the policy looks, the reasoner thinks. What is
    stored already is not made again, so a killed collection goes on where it stopped.
    Of several processes each makes its own shards, from captions to selection.

    Args:
      policy: samples captions from the model being trained.
      reasoner: samples reasonings from the frozen text-only model.
      verify: judges (response, answer) pairs.
      count_tokens: lengths of texts in the policy's tokens, as of `token_counter`; None
        where the reasoner's tokens are the policy's.
      tables: where everything is stored; shards that exist are kept.
      prompts: for captions and for the reasoner.
      config: K, N, alpha and the seeds.
      choose: which right reasoning is kept, such as `reward_weighted`.
      track: shows how far each stage is, in shards.

    Raises:
      InputError: the stored tables are of other questions or other settings.
      ValueError: another choice than the shortest, and early stopping.
      RuntimeError: the policy or the reasoner loses a completion.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, algorithm 1.
    """
    check_choice(choose, config)
    caption_pictures(policy, tables, prompts, config, track=track)
    reason_from_captions(
        reasoner,
        verify,
        tables,
        prompts,
        config,
        counts_tokens=count_tokens is None,
        track=track,
    )
    select_and_store(count_tokens, tables, config, choose=choose)
    wait_for_all("the collection")


def caption_pictures(
    policy: GenerateFn,
    tables: RolloutTables,
    prompts: Prompts,
    config: SophiaConfig,
    *,
    track: Track = untracked,
) -> None:
    """On-policy: K captions of each picture, c(1..K) ~ π_θ(· | x_d, v).

    The question is hidden, so that a caption cannot earn its reward by the answer.
    """
    missing = my_shards(tables.captions.missing())
    for shard in track(missing, "captions", len(missing)):
        items = tables.questions(shard)
        rows = write_captions(policy, items, prompts.caption, config)
        tables.captions.write(shard, rows)


def reason_from_captions(
    reasoner: GenerateFn,
    verify: RewardFn,
    tables: RolloutTables,
    prompts: Prompts,
    config: SophiaConfig,
    *,
    counts_tokens: bool = False,
    track: Track = untracked,
) -> None:
    """Off-policy: N reasonings from each caption, y(1..N) ~ π̄(· | prompt(c, x_q)).

    Each is verified at once: R(y) = 1 if its answer is right, else 0 (eq. 4). What can
    no longer change the selection is stopped, if the configuration allows it.
    """
    missing = my_shards(tables.reasonings.missing())
    for shard in track(missing, "reasonings", len(missing)):
        items, captions = tables.questions(shard), tables.captions.read(shard)
        rows = write_reasonings(
            reasoner,
            verify,
            items,
            captions,
            prompts.reasoner,
            config,
            counts_tokens=counts_tokens,
        )
        tables.reasonings.write(shard, rows)


def select_and_store(
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None,
    tables: RolloutTables,
    config: SophiaConfig,
    *,
    choose: Choose = shortest,
) -> None:
    """Rewards back to the captions, and one reasoning kept for each question, or none.

    R(c) = 1/N Σ R(y) (eq. 5); kept is the shortest right reasoning under a caption with
    R(c) > α (eq. 6), its length counted in the policy's tokens.
    """
    for shard in my_shards(tables.selection.missing()):
        items, reasonings = tables.questions(shard), tables.reasonings.read(shard)
        rows = select_trajectories(
            items, reasonings, count_tokens, config, choose=choose
        )
        tables.selection.write(shard, rows)


def trajectory_examples(
    policy: Model, items: Sequence[Item], selection: Sequence[dict], prompts: Prompts
) -> PicturedExamples:
    """What the update learns from: (image, question) -> kept reasoning, R = 1.

    The caption enters neither the prompt nor the target: it only chose the reasoning.
    The system prompt is given only where the reasoning thinks between tags.

    Args:
      policy: whose tokens are learnt; its tower encodes each picture when its turn
        comes.
      items: the questions.
      selection: rows of the selection table; those that were not kept are passed over.
      prompts: of the loop.

    Returns:
      One example for each kept row.

    Raises:
      InputError: a row is of no item, a picture cannot be read, or a trajectory does
        not fit the policy's context.
    """
    by_id = {item.id: item for item in items}
    kept = [row for row in selection if row["kept"]]
    if unknown := {row["question_id"] for row in kept} - by_id.keys():
        raise InputError(f"selection: expected ids of the items, got {min(unknown)!r}")
    asked = [by_id[row["question_id"]] for row in kept]

    def example(row: dict, item: Item) -> Example:
        target_ids = encode_target(policy.tokenizer, row["text"])
        prompt_ids = encode_prompt(
            policy.tokenizer,
            policy.config,
            item.question,
            system=prompts.system_for(row["text"]),
            tiles_per_image=count_tiles(policy.tiles, item.images),
            max_new_tokens=len(target_ids),
        )
        known = row.get("behavior_log_prob")
        return Example(
            prompt_ids,
            target_ids,
            reward=row["reward"],
            behavior_log_prob=math.nan if known is None else known,
        )

    return PicturedExamples(
        policy, list(map(example, kept, asked)), [item.images for item in asked]
    )


def update_policy(
    policy: Model,
    examples: Sequence[Example],
    training: TrainingConfig,
    folder: Path,
    *,
    objective: Objective = objectives.sophia,
    track: Track = untracked,
) -> Model:
    """The update phase: gradient ascent on what was kept.

        ∇J ≈ E_D[R Σ_l ∇ log π_θ(y_l | y_<l, x_q, v)]

    over D, the kept reasonings y of questions x_q about pictures with features v. The
    ratio of π_θ to the behaviour μ is set to 1, and there is no baseline, no clipping
    and no KL term. How far from 1 it is, is logged as `log_ratio` with each update, for
    the paper's lemma A.3 takes it for nearly 1.

    Args:
      policy: the model that wrote the captions; it is left as it is.
      examples: of `trajectory_examples`, or others.
      training: length, batch, optimizer; by default the decoder alone learns.
      folder: of checkpoints and metrics; a killed phase goes on from there.
      objective: what is minimised; others are in `training.objectives`.
      track: shows the updates.

    Returns:
      The updated policy.

    Raises:
      InputError: there is nothing to learn from, or an example is longer than a row.
      FloatingPointError: the loss is not finite.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, eq. (7).
    """
    if not examples:
        raise InputError(
            "update: expected something to learn from, got 0 trajectories kept: no "
            "question has a right answer from a caption above the threshold"
        )
    return train(policy, examples, objective, training, folder, track=track)
