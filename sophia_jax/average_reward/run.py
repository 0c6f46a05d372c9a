"""Runs of an agent in an MDP: one compiled program for all seeds and steps.

All seeds take a step at a time. When the policy of any is due to change, the steps
pause, and that seed alone plans: a branch under `vmap` would plan for all, always.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, Transition, Truth, as_agent
from sophia_jax.average_reward.mdp import AverageRewardMDP
from sophia_jax.average_reward.solvers import solve
from sophia_jax.average_reward.trace import (
    Trace,
    first_seed,
    warn_of_contradictions,
    warn_of_empty_sets,
)
from sophia_jax.types import Array

__all__ = ["run"]


def run(
    key: Array,
    agent: Any,
    mdp: AverageRewardMDP,
    num_steps: int,
    *,
    every: int = 1,
    max_noted: int = 256,
    keep_path: bool = False,
) -> Trace:
    """Let an agent learn in an MDP that goes on for a number of steps.

        Reg(T) = sum_{t <= T} (J* - r(s_t, a_t))

    Sums are compensated, in float32: after 10^6 steps they are right to 0.1.

    Args:
      key: one key, or an array of keys of one axis: a run for each.
      agent: an `Agent`, or any object with `init`, `act` and `update`.
      mdp: weakly communicating; the agent is told its `spec` alone.
      num_steps: T, at least 1.
      every: regret is told after each so many steps, and after the last.
      max_noted: how many switches are told of one by one.
      keep_path: whether states and actions of all steps are kept.

    Returns:
      The trace, in NumPy.

    Raises:
      ValueError: num_steps, every or max_noted below 1.
      InputError: the MDP is multichain.

    Warns:
      EmptyConfidenceSet: of a run in which the agent's confidence set became empty.
      ContradictedOptimism: of one in which it was refuted; see `contradicted`.
    """
    for name, value in (
        ("num_steps", num_steps),
        ("every", every),
        ("max_noted", max_noted),
    ):
        if value < 1:
            raise ValueError(f"{name}: expected >= 1, got {value}")
    agent, keys = as_agent(agent), jnp.asarray(key)
    keys = keys if jnp.issubdtype(keys.dtype, jax.dtypes.prng_key) else wrap(keys)
    world, truth = _world(mdp)
    seeds = keys[None] if keys.ndim == 0 else keys
    options = _Options(mdp.spec, num_steps, every, max_noted, keep_path)
    end = jax.device_get(_simulate(seeds, world, truth, agent, options))
    trace = _trace(end, options)
    warn_of_empty_sets(agent.name, trace)
    warn_of_contradictions(agent.name, trace, agent.span_bound, float(truth.gain))
    if keys.ndim == 0:
        trace = first_seed(trace)
    return trace


def wrap(keys: Array) -> Array:
    """Keys of the old kind, which are plain integers."""
    return jax.random.wrap_key_data(keys)


@dataclass(frozen=True)
class _Options:
    """What the compiled program depends on."""

    spec: Any
    num_steps: int
    every: int
    max_noted: int
    keep_path: bool

    @property
    def steps(self) -> np.ndarray:
        last = -(-self.num_steps // self.every)
        return np.minimum(np.arange(1, last + 1) * self.every, self.num_steps)


def _world(mdp: AverageRewardMDP) -> tuple[dict[str, Array], Truth]:
    """What a step needs, and what measures do, in float32.

    A state of probability 0 is never drawn: its part of [0, 1) is empty, since float64
    sums that are equal are so in float32.
    """
    solution = solve(mdp)
    cumulative = np.cumsum(mdp.transition, -1)
    cumulative = cumulative / cumulative[..., -1:]
    float32 = functools.partial(jnp.asarray, dtype=jnp.float32)
    gap = solution.gain - mdp.reward
    cost = gap + solution.bias[:, None] - mdp.transition @ solution.bias
    world = {
        "cumulative": float32(cumulative[..., :-1]),
        "reward": float32(mdp.reward),
        "gap": float32(np.stack([gap, np.maximum(cost, 0)], -1)),
        "start": jnp.int32(mdp.start),
    }
    tables = (mdp.transition, mdp.reward, solution.gain, solution.bias)
    return world, Truth(*(float32(table) for table in tables))


@functools.partial(jax.jit, static_argnames=("agent", "options"))
def _simulate(
    keys: Array, world: dict, truth: Truth, agent: Agent, options: _Options
) -> dict[str, Any]:
    """The whole run of all seeds; what it ends with, seeds first but for the path."""
    streams = jax.vmap(functools.partial(jax.random.split, num=3))(keys)
    state = jax.vmap(lambda key: agent.init(key, options.spec))(streams[:, 0])
    noted = jax.vmap(lambda one: _notes(agent, one, truth, 0))(state)
    carry = _beginning(state, noted, world, options)
    step = functools.partial(
        _step, world=world, agent=agent, options=options, streams=streams[:, 1:]
    )

    def going_on(carry: dict) -> Array:
        return (carry["step"] < options.num_steps) & ~carry["due"].any()

    def epoch(carry: dict) -> dict:
        notes = {name: carry.pop(name) for name in ("switches", "notes")}
        carry = jax.lax.while_loop(going_on, step, carry) | notes
        replan = functools.partial(_replan, agent=agent, truth=truth)
        return jax.lax.cond(carry["due"].any(), replan, lambda kept: kept, carry)

    return jax.lax.while_loop(
        lambda carry: (carry["step"] < options.num_steps) | carry["due"].any(),
        lambda carry: epoch(dict(carry)),
        carry,
    )


def _notes(agent: Agent, state: Any, truth: Truth, step: Array | int) -> dict:
    """What is told of a policy when it is chosen."""
    notes = {"step": jnp.int32(step), **agent.describe(state)}
    if agent.covers is not None:
        notes["covers"] = agent.covers(state, truth)
    return notes


def _beginning(state: Any, noted: dict, world: dict, options: _Options) -> dict:
    seeds = len(noted["step"])
    shape = (seeds, options.max_noted)

    def room(value: Array) -> Array:
        empty = -1 if jnp.issubdtype(value.dtype, jnp.integer) else 0
        return jnp.full(shape, empty, value.dtype).at[:, 0].set(value)

    carry = {
        "step": jnp.int32(0),
        "place": jnp.full(seeds, world["start"]),
        "state": state,
        "due": jnp.zeros(seeds, bool),
        "regret": jnp.zeros((seeds, 2)),  # and pseudo-regret
        "lost": jnp.zeros((seeds, 2)),  # what rounding took from `regret`
        "curve": jnp.zeros((len(options.steps), seeds, 2)),
        "visits": jnp.zeros((seeds, *world["reward"].shape), jnp.int32),
        "switches": jnp.zeros(seeds, jnp.int32),
        "notes": {name: room(value) for name, value in noted.items()},
    }
    if options.keep_path:
        carry["path"] = jnp.zeros((options.num_steps, 2, seeds), jnp.int32)
    return carry


def _step(
    carry: dict, *, world: dict, agent: Agent, options: _Options, streams: Array
) -> dict:
    """One step of every seed; none of them plans."""
    now, place = carry["step"], carry["place"]
    keys = jax.vmap(lambda pair: jax.vmap(jax.random.fold_in, (0, None))(pair, now))(
        streams
    )
    action = jax.vmap(agent.act)(keys[:, 0], carry["state"], place).astype(jnp.int32)
    drawn = jax.vmap(jax.random.uniform)(keys[:, 1])
    passed = drawn[:, None] >= world["cumulative"][place, action]
    after = passed.sum(-1, dtype=jnp.int32)
    reward, gap = world["reward"][place, action], world["gap"][place, action]
    seen = Transition(place, action, reward, after)
    state, due = jax.vmap(agent.observe)(carry["state"], seen)
    regret, lost = _compensated(carry["regret"], carry["lost"], gap)
    new = {
        "step": now + 1,
        "place": after,
        "state": state,
        "due": due,
        "regret": regret,
        "lost": lost,
        "curve": carry["curve"].at[now // options.every].set(regret),
        "visits": carry["visits"] + _one_hot(place, action, world["reward"].shape),
    }
    if options.keep_path:
        new["path"] = carry["path"].at[now].set(jnp.stack([place, action]))
    return new


def _one_hot(place: Array, action: Array, shape: tuple[int, int]) -> Array:
    """1 at each seed's pair: a sum of small tables is quicker than a scatter."""
    flat = jax.nn.one_hot(
        place * shape[1] + action, shape[0] * shape[1], dtype=jnp.int32
    )
    return flat.reshape(-1, *shape)


def _compensated(total: Array, lost: Array, added: Array) -> tuple[Array, Array]:
    """Kahan's sum: what rounding takes from the total is given back with the next."""
    whole = added - lost
    new = total + whole
    return new, (new - total) - whole


def _replan(carry: dict, *, agent: Agent, truth: Truth) -> dict:
    """Let the first seed that is due plan, and note its new policy."""
    seed = carry["due"].argmax()
    state = agent.plan(jax.tree.map(lambda leaf: leaf[seed], carry["state"]))
    switch = carry["switches"][seed] + 1
    noted = _notes(agent, state, truth, carry["step"])

    def put(leaf: Array, value: Array) -> Array:
        return leaf.at[seed].set(value)

    def note(table: Array, value: Array) -> Array:
        return table.at[seed, switch].set(value, mode="drop")

    return carry | {
        "state": jax.tree.map(put, carry["state"], state),
        "due": carry["due"].at[seed].set(False),
        "switches": carry["switches"].at[seed].set(switch),
        "notes": {name: note(carry["notes"][name], noted[name]) for name in noted},
    }


def _trace(end: dict[str, Any], options: _Options) -> Trace:
    notes = dict(end["notes"])
    path = end.get("path")
    return Trace(
        step=options.steps,
        regret=np.ascontiguousarray(end["curve"][..., 0].T),
        pseudo_regret=np.ascontiguousarray(end["curve"][..., 1].T),
        switches=end["switches"],
        switch_step=notes.pop("step"),
        notes=notes,
        visits=end["visits"],
        states=None if path is None else path[:, 0].T,
        actions=None if path is None else path[:, 1].T,
    )
