"""The ways to a better policy: f-DPO from pairs, PPO and GRPO from samples of its own.

Every arm starts at the reference and makes as many updates, of as many answers, by the
same optimizer; it is measured at the same updates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.data.examples import Example
from sophia_jax.data.packing import PackedBatch
from sophia_jax.losses import (
    generalized_advantages,
    group_advantages,
    penalized_rewards,
    whitened,
)
from sophia_jax.recipes.frontier.laboratory import (
    Laboratory,
    Samples,
    batches_of,
    draw_samples,
    optimizer,
    pack,
)
from sophia_jax.recipes.frontier.points import measure
from sophia_jax.recipes.frontier.sizes import DIVERGENCES, FrontierConfig
from sophia_jax.recipes.frontier.task import LONGEST, PROMPTS
from sophia_jax.training import objectives
from sophia_jax.training.critic import (
    BEHAVIOR_VALUE,
    RETURN,
    Critic,
    critic_step,
    init_critic,
    values,
)
from sophia_jax.training.step import TrainState, init_state, train_step

__all__ = ["IMITATION", "Arm", "all_arms", "run_arm"]

IMITATION = "SFT on the best"


@dataclass(frozen=True)
class Arm:
    """One way to learn.

    Attributes:
      method: of `METHODS`, or `IMITATION`.
      divergence: by its name in `DIVERGENCES`; "" for none.
      beta: its price; 0 for none.
    """

    method: str
    divergence: str = ""
    beta: float = 0.0

    @property
    def name(self) -> str:
        words = (self.method, self.divergence, f"{self.beta:g}" if self.beta else "")
        return " ".join(word for word in words if word)


def all_arms(config: FrontierConfig) -> list[Arm]:
    """Of one seed."""
    return [Arm(IMITATION)] + [
        Arm(method, divergence, beta)
        for divergence in config.divergences
        for method in LEARNERS
        for beta in config.betas
    ]


def run_arm(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> dict:
    """Learn, and measure at each checkpoint.

    Returns:
      The arm with its `points`, of `measure`.
    """
    learn = {IMITATION: imitate, **LEARNERS}[arm.method]
    tells = arm.method != IMITATION
    implied = (DIVERGENCES[arm.divergence], arm.beta) if tells else None
    points = []
    for step, params in enumerate(learn(laboratory, arm, config), start=1):
        if step in config.checkpoints:
            policy = dataclasses.replace(laboratory.reference, params=params)
            points.append(
                measure(laboratory, policy, config, step=step, implied=implied)
            )
    return {**dataclasses.asdict(arm), "seed": laboratory.seed, "points": points}


def imitate(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """Supervised learning of the best of every few answers of the reference."""
    pool, best = laboratory.pool, []
    rewards = laboratory.rewards[pool.prompts, pool.answers]
    for prompt in range(len(PROMPTS)):
        places = np.flatnonzero(pool.prompts == prompt)
        groups = places[: len(places) // config.best_of * config.best_of]
        groups = groups.reshape(-1, config.best_of)
        best += list(
            np.take_along_axis(groups, rewards[groups].argmax(1)[:, None], axis=1)[:, 0]
        )
    examples = [answer_of(laboratory, pool, place) for place in best]
    yield from offline(laboratory, examples, config.batch_size, objectives.sft, config)


def f_dpo(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """f-DPO on pairs of the reference's answers, by a known reward's preferences."""
    pairs = []
    for number, first_wins in enumerate(laboratory.first_wins[: config.num_pairs]):
        pair = [
            answer_of(laboratory, laboratory.pool, 2 * number + second)
            for second in (0, 1)
        ]
        pairs.append(tuple(pair if first_wins else pair[::-1]))
    objective = objectives.f_dpo(DIVERGENCES[arm.divergence], beta=arm.beta)
    yield from offline(laboratory, pairs, config.batch_size // 2, objective, config)


def offline(
    laboratory: Laboratory,
    examples: list,
    size: int,
    objective: Callable,
    config: FrontierConfig,
) -> Iterator[dict]:
    """The weights after each update on what was there before."""
    rng = np.random.default_rng((laboratory.seed, 4))
    state = start(laboratory, objective, config)
    batches = batches_of(examples, size, rng)
    for _, chosen in zip(range(config.updates), batches, strict=False):
        state, _ = train_step(state, pack(chosen, laboratory.reference))
        yield state.params


def grpo(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """GRPO: an answer's advantage is over the others to its prompt."""
    state = start(laboratory, objectives.grpo(reduce=OVER_ANSWER), config)
    for round in range(config.updates // config.updates_per_round):
        batch = sampled_batch(laboratory, state, arm, config, round)
        groups = batch.reward.reshape(len(PROMPTS), -1)
        batch = with_signals(
            batch, {objectives.ADVANTAGE: group_advantages(groups).ravel()}
        )
        for _ in range(config.updates_per_round):
            state, _ = train_step(state, batch)
            yield state.params


def ppo(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """PPO: each token's advantage is over what a critic thought before it."""
    state = start(laboratory, objectives.grpo(reduce=OVER_ANSWER), config)
    critic = init_critic(
        laboratory.reference,
        optimizer(config.critic_rate, config.updates, config.warmup_steps),
    )
    for round in range(config.updates // config.updates_per_round):
        batch = sampled_batch(laboratory, state, arm, config, round)
        batch = with_signals(batch, judged(critic, batch, config.decay))
        for _ in range(config.updates_per_round):
            state, _ = train_step(state, batch)
            critic, _ = critic_step(critic, batch)
            yield state.params


LEARNERS = {"f-DPO": f_dpo, "PPO": ppo, "GRPO": grpo}
OVER_ANSWER = objectives.over_length(LONGEST)


def start(
    laboratory: Laboratory, objective: Callable, config: FrontierConfig
) -> TrainState:
    """The reference, before its first update."""
    adamw = optimizer(config.learning_rate, config.updates, config.warmup_steps)
    return init_state(laboratory.reference, adamw, objective=objective)


def answer_of(laboratory: Laboratory, samples: Samples, place: int) -> Example:
    """One of the reference's own answers, so that its log-probabilities are known."""
    return Example(
        prompt_ids=laboratory.prompt_ids[samples.prompts[place]],
        target_ids=samples.token_ids[place],
        signals={objectives.REFERENCE: samples.log_probs[place]},
    )


def sampled_batch(
    laboratory: Laboratory,
    state: TrainState,
    arm: Arm,
    config: FrontierConfig,
    round: int,
) -> PackedBatch:
    """Answers of the policy as it is, with their rewards less the price of divergence.

    r - β f'(u), u = π / π_ref of the whole answer.
    """
    policy = dataclasses.replace(laboratory.reference, params=state.params)
    each = config.batch_size // len(PROMPTS)
    samples = draw_samples(policy, each, laboratory.seed, f"round {round}")
    places = samples.prompts, samples.answers
    own = np.array([log_probs.sum() for log_probs in samples.log_probs])
    rewards = penalized_rewards(
        laboratory.rewards[places].astype(np.float32),
        (own - laboratory.log_probs[places]).astype(np.float32),
        DIVERGENCES[arm.divergence],
        beta=arm.beta,
    )
    examples = [
        Example(
            prompt_ids=laboratory.prompt_ids[samples.prompts[place]],
            target_ids=samples.token_ids[place],
            reward=float(reward),
            signals={objectives.BEHAVIOR: samples.log_probs[place]},
        )
        for place, reward in enumerate(rewards)
    ]
    return pack(examples, policy)


@jax.jit
def judged(critic: Critic, batch: PackedBatch, decay: float) -> dict[str, jax.Array]:
    """What a critic says of each token: advantages, returns, and its values now."""
    mask = batch.target_mask
    found = values(critic, batch)
    is_last = mask & ~jnp.pad(mask[:, 1:], ((0, 0), (0, 1)))
    rewards = jnp.where(is_last, batch.reward[:, None], 0)
    advantages = generalized_advantages(rewards, found, mask, decay=decay)
    return {
        objectives.ADVANTAGE: whitened(advantages, mask),
        RETURN: advantages + found,
        BEHAVIOR_VALUE: found,
    }


def with_signals(batch: PackedBatch, signals: dict) -> PackedBatch:
    return batch.replace(signals=batch.signals | jax.device_get(signals))
