"""GRPO: reinforcement learning from groups of answers by the policy itself.

    sample      N answers to each question, by the policy as it is now    (on-policy)
    verify      is the answer right?  r(y) in {0, 1}
    drop        the questions whose answers all earned the same
    compare     A_i = (r_i - mean r) / std r, within each question's answers
    update      clipped policy gradient on (image, question) -> answer, weighted by A

Step after step: what is learnt is what the next answers are sampled with.

Reference: Shao et al., 2024, "DeepSeekMath", https://arxiv.org/abs/2402.03300; as
SOPHIA has it for a baseline, 2025, https://arxiv.org/abs/2507.16814.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from sophia_jax.config import GrpoConfig
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.turns import WeightsInTurn
from sophia_jax.losses import group_advantages
from sophia_jax.models.model import Model
from sophia_jax.preemption import Preempted
from sophia_jax.rollouts.groups import (
    Advantages,
    AnswerGroup,
    answer_examples,
    ask,
    draw_questions,
    group_metrics,
    sample_groups,
)
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig, open_checkpoints
from sophia_jax.training.optimizer import learning_rate, make_optimizer
from sophia_jax.training.passes import pass_over
from sophia_jax.training.scoring import score_signal
from sophia_jax.training.step import Measure, Objective, TrainState, init_state
from sophia_jax.training.steps import Signalled, Stepped, run_steps
from sophia_jax.types import InputError, Item, RewardFn, Track, untracked

__all__ = ["train_on_policy"]

LEARN = ("decoder", "adapters")  # what can be given to the sampler anew
GRPO, MEASURES = objectives.grpo(), objectives.grpo_measures()
OF_FIRST_UPDATE = ("log_ratio", "absolute_log_ratio", "sampler_gap")


def train_on_policy(
    policy: Model,
    engine: Engine,
    verify: RewardFn,
    items: Sequence[Item],
    config: GrpoConfig,
    training: TrainingConfig,
    folder: Path,
    *,
    objective: Objective = GRPO,
    measure: Measure = MEASURES,
    advantages: Advantages = group_advantages,
    reference: Model | None = None,
    donate: bool = False,
    track: Track = untracked,
    description: str = "steps",
) -> Model:
    """Sample, verify, update, with the same weights, step after step.

        r = π_θ(y_l | y_<l, x, v) / μ(y_l | y_<l, x, v)

    μ is what was really sampled from, π_θ all of the policy at temperature 1. Sampled
    so, as is advised, r = 1 before the first update on an answer. At another
    temperature r corrects each token for it, though not what stands before the token;
    and where it is beyond the clip, the token teaches nothing. With top-p (or top-k) r
    is the mass that was kept, below 1, and of what was cut off nothing is learnt: no
    ratio mends that. The logged `log_ratio` shows how far it goes.

    A killed run goes on from its newest checkpoint and ends with the same weights. One
    that is told to stop leaves what it is sampling, and saves.

    Args:
      policy: where it learns; it is left as it is, unless it is donated.
      engine: samples with the policy's weights, on the same devices or on others; it is
        given those of each step, and in the end has none until `Engine.renew`.
      verify: judges (response, answer) pairs.
      items: questions.
      config: sizes of a step, and seeds.
      training: of the updates. `batch_size` counts answers: those of a step come in as
        few equal updates as that takes, one if it is their number.
      folder: of checkpoints and metrics.
      objective: what is minimised, of `objectives` or one's own.
      measure: what is logged beside it.
      advantages: of rewards.
      reference: frozen, on the policy's devices; for an objective with a KL term.
      donate: use the policy's own weights, which it loses, instead of a copy.
      track: shows the steps.
      description: what `track` calls them.

    Returns:
      The updated policy.

    Raises:
      InputError: there are fewer questions than in a step, or several processes; the
        temperature is 0; an answer is longer than a row; or the checkpoint is of
        another run.
      ValueError: a part is to learn that the engine cannot be given.
      FloatingPointError: loss or gradient is not finite; names the step.
      Preempted: it was told to stop, and has saved what it did.
    """
    _check(engine, items, config, training)
    state = init_state(
        policy,
        make_optimizer(training.optimizer),
        objective=objective,
        measure=measure,
        trainable=training.trainable,
        remat=training.remat,
        donate=donate,
    )
    steps = _Steps(
        policy, engine, verify, items, config, training, advantages, reference
    )
    state = run_steps(
        state,
        steps.heeding,
        num_steps=config.num_steps,
        folder=folder,
        open_checkpoints=functools.partial(open_checkpoints, policy, training, folder),
        checkpoint_every=training.checkpoint_every,
        track=track,
        description=description,
    )
    return dataclasses.replace(policy, params=state.params)


class _Steps:
    """`Steps` of sampling and learning."""

    def __init__(
        self,
        policy: Model,
        engine: Engine,
        verify: RewardFn,
        items: Sequence[Item],
        config: GrpoConfig,
        training: TrainingConfig,
        advantages: Advantages,
        reference: Model | None,
    ):
        self._policy, self._engine, self._verify = policy, engine, verify
        self._items, self._config, self._training = items, config, training
        self._advantages, self._reference = advantages, reference
        self._rate = learning_rate(training.optimizer)
        self._turns = WeightsInTurn(engine, policy, training.trainable)

    def heeding(self, signalled: Signalled) -> _Steps:
        self._signalled = signalled
        return self

    def resume(self, state: TrainState, position: dict) -> int:
        return position["steps"]

    def close(self) -> None:
        """Nothing is held."""

    def __call__(self, number: int, state: TrainState) -> Stepped:
        start = time.perf_counter()
        self._turns.lend(state.params)  # y(1..N) ~ π_θ of this very step
        try:
            groups = self._sample(number)
        except Preempted:
            groups = None
        state = dataclasses.replace(
            state, params=state.params | self._turns.take_back()
        )
        if groups is None:
            return Stepped(state, {}, {"steps": number}, stop=True, is_whole=False)
        sampled = time.perf_counter()
        keep_all = self._config.keep_equal_groups
        kept = [group for group in groups if keep_all or not group.is_equal]
        state, learnt = self._learn(number, state, kept)
        seconds = {
            "sampling_seconds": sampled - start,
            "update_seconds": time.perf_counter() - sampled,
        }
        dropped = {"dropped": 1 - len(kept) / len(groups)}
        metrics = group_metrics(groups) | dropped | learnt | seconds
        stop = self._signalled() is not None
        return Stepped(state, metrics, {"steps": number + 1}, stop)

    def _sample(self, number: int) -> list[AnswerGroup]:
        items = draw_questions(self._items, number, self._config)
        requests = ask(items, number, self._config)
        return sample_groups(self._engine, self._verify, items, requests)

    def _learn(
        self, number: int, state: TrainState, groups: Sequence[AnswerGroup]
    ) -> tuple[TrainState, dict[str, float]]:
        """The updates of a step, and means over them; none where nothing was kept."""
        if not groups:
            return state, {"updates": 0}
        prompts = self._engine.prompts(group.request for group in groups)
        examples = answer_examples(
            groups,
            [prompt for prompt, _ in prompts],
            self._advantages,
            image_tokens=self._policy.config.tokens_per_tile,
        )
        if self._reference is not None:
            examples = score_signal(
                self._reference,
                examples,
                objectives.REFERENCE,
                row_length=self._training.row_length,
                batch_size=self._training.micro_batch_size,
            )
        rate = float(self._rate(int(state.step)))
        state, rows = pass_over(
            np.random.default_rng((self._config.seed, number)),
            state,
            examples,
            self._policy,
            self._training,
            passes=self._config.passes,
        )
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        first = {name: rows[0][name] for name in OF_FIRST_UPDATE if name in rows[0]}
        updates = {"updates": len(rows), "learning_rate": rate}
        return state, means | first | updates


def _check(
    engine: Engine, items: Sequence[Item], config: GrpoConfig, training: TrainingConfig
) -> None:
    if jax.process_count() > 1:
        raise InputError(
            "processes: expected one, since answers are learnt where they are sampled, "
            f"got {jax.process_count()}"
        )
    if len(items) < config.num_questions:
        raise InputError(
            f"num_questions: expected at most the {len(items)} that there are, got "
            f"{config.num_questions}"
        )
    if engine.sampling.temperature == 0:
        raise InputError("temperature: expected > 0, for answers that differ, got 0")
    if others := set(training.trainable) - set(LEARN):
        raise ValueError(
            f"trainable: expected parts of {list(LEARN)}, got {sorted(others)}"
        )
