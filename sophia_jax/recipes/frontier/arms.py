"""The ways to a better policy: f-DPO from pairs, PPO and GRPO from samples of its own.

Every arm starts at the reference and makes as many updates, of as many answers; it is
measured at the same updates, by the true reward. All that an arm learns of this reward
are the preferences of the same pairs: f-DPO learns from the pairs themselves, the
others from what a reward model made of them. Only the arm `TOLD` is told the truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.data.examples import Example
from sophia_jax.data.packing import PackedBatch
from sophia_jax.generation.engine import Engine
from sophia_jax.losses import (
    Divergence,
    generalized_advantages,
    group_advantages,
    penalized_rewards,
    whitened,
)
from sophia_jax.recipes.frontier.batches import batches_of, optimizer, pack
from sophia_jax.recipes.frontier.laboratory import Laboratory
from sophia_jax.recipes.frontier.points import measure
from sophia_jax.recipes.frontier.samples import draw_samples, sampler
from sophia_jax.recipes.frontier.sizes import DIVERGENCES, TOLD, FrontierConfig
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
        for method in config.methods(divergence)
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
    rewards = known_rewards(laboratory, arm)[pool.prompts, pool.answers]
    for prompt in range(len(PROMPTS)):
        places = np.flatnonzero(pool.prompts == prompt)
        groups = places[: len(places) // config.best_of * config.best_of]
        groups = groups.reshape(-1, config.best_of)
        best += list(
            np.take_along_axis(groups, rewards[groups].argmax(1)[:, None], axis=1)[:, 0]
        )
    examples = [
        Example(laboratory.prompt_ids[pool.prompts[place]], pool.token_ids[place])
        for place in best
    ]
    rng = np.random.default_rng((laboratory.seed, 6))
    batches = (
        pack(chosen, laboratory.reference.config)
        for chosen in batches_of(examples, config.batch_size, rng)
    )
    yield from offline(laboratory, batches, objectives.sft, config)


def f_dpo(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """f-DPO on pairs of the reference's answers."""
    objective = objectives.f_dpo(DIVERGENCES[arm.divergence], beta=arm.beta)
    yield from offline(laboratory, laboratory.pair_batches, objective, config)


def offline(
    laboratory: Laboratory,
    batches: Iterable[PackedBatch],
    objective: Callable,
    config: FrontierConfig,
) -> Iterator[dict]:
    """The weights after each update on what was there before."""
    state = start(laboratory, objective, config.pairs_rate, config)
    for _, batch in zip(range(config.updates), batches, strict=False):
        state, _ = train_step(state, batch)
        yield state.params


def grpo(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """GRPO: an answer's advantage is over the others to its prompt."""
    engine = sampler(laboratory.reference)
    state = start(laboratory, CLIPPED, config.policy_rate, config)
    for round in range(config.updates // config.updates_per_round):
        engine.renew(state.params)
        batch = sampled_batch(laboratory, engine, arm, config, round)
        groups = batch.reward.reshape(len(PROMPTS), -1)
        advantages = jax.jit(group_advantages)(groups).ravel()
        batch = with_signals(batch, {objectives.ADVANTAGE: advantages})
        for _ in range(config.updates_per_round):
            state, _ = train_step(state, batch)
            yield state.params


def ppo(laboratory: Laboratory, arm: Arm, config: FrontierConfig) -> Iterator[dict]:
    """PPO: each token's advantage is over what a critic thought before it."""
    engine = sampler(laboratory.reference)
    state = start(laboratory, CLIPPED, config.policy_rate, config)
    critic = init_critic(
        laboratory.reference,
        optimizer(config.critic_rate, config.updates, config.warmup_steps),
    )
    for round in range(config.updates // config.updates_per_round):
        engine.renew(state.params)
        batch = sampled_batch(laboratory, engine, arm, config, round)
        batch = with_signals(batch, judged(critic, batch, config.decay))
        for _ in range(config.updates_per_round):
            state, _ = train_step(state, batch)
            critic, _ = critic_step(critic, batch)
            yield state.params


LEARNERS = {"f-DPO": f_dpo, "PPO": ppo, "GRPO": grpo, TOLD: ppo}
CLIPPED = objectives.grpo(reduce=objectives.over_length(LONGEST))


def start(
    laboratory: Laboratory, objective: Callable, rate: float, config: FrontierConfig
) -> TrainState:
    """The reference, before its first update."""
    adamw = optimizer(rate, config.updates, config.warmup_steps)
    return init_state(laboratory.reference, adamw, objective=objective)


def known_rewards(laboratory: Laboratory, arm: Arm) -> np.ndarray:
    """Float[prompt answer], what an arm takes for the reward."""
    return laboratory.rewards if arm.method == TOLD else laboratory.learnt_rewards


def sampled_batch(
    laboratory: Laboratory,
    engine: Engine,
    arm: Arm,
    config: FrontierConfig,
    round: int,
) -> PackedBatch:
    """Answers of the policy as it is, with their rewards less the price of divergence.

    r - β f'(u), u = π / π_ref of the whole answer.
    """
    each = config.batch_size // len(PROMPTS)
    samples = draw_samples(engine, each, laboratory.seed, f"round {round}")
    places = samples.prompts, samples.answers
    own = np.array([log_probs.sum() for log_probs in samples.log_probs])
    rewards = priced(
        known_rewards(laboratory, arm)[places].astype(np.float32),
        (own - laboratory.log_probs[places]).astype(np.float32),
        DIVERGENCES[arm.divergence],
        arm.beta,
    )
    examples = [
        Example(
            prompt_ids=laboratory.prompt_ids[samples.prompts[place]],
            target_ids=samples.token_ids[place],
            reward=reward,
            signals={objectives.BEHAVIOR: samples.log_probs[place]},
        )
        for place, reward in enumerate(np.asarray(rewards).tolist())
    ]
    return pack(examples, laboratory.reference.config)


@jax.jit
def priced(
    rewards: jax.Array, log_ratio: jax.Array, divergence: Divergence, beta: float
) -> jax.Array:
    """`penalized_rewards`, one program for all divergences of a family."""
    return penalized_rewards(rewards, log_ratio, divergence, beta=beta)


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
