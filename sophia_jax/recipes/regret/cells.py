"""All runs of one agent in one bed, as what is written to its file."""

from __future__ import annotations

import time

import jax
import numpy as np

from sophia_jax import average_reward as ar
from sophia_jax.recipes.regret.agents import AGENTS
from sophia_jax.recipes.regret.beds import make_bed
from sophia_jax.recipes.regret.sizes import Cell

__all__ = ["defined_by", "run_cell"]

MAX_NOTED = 2048  # switches that are told of one by one
SAME_DIGITS = 9  # behind the point


def run_cell(cell: Cell, num_records: int) -> dict:
    """Let every seed of an agent learn in a bed.

    Args:
      cell: who, where, and for how long.
      num_records: points of the curves.

    Returns:
      What it was `defined_by`; curves of `regret` and `pseudo_regret` of each seed at
      `steps`; `switches`, and after how many steps each was, of those noted; whether
      the truth was in the confidence set at every one of them (`covered`), where there
      is a set; `empty` and `contradicted`: in how many and in which runs the set was
      empty, or was refuted by what was earned; `believed`: the mean gain in which the
      last policies believe; `seconds`, compilation included.
    """
    entry, bed = AGENTS[cell.agent], make_bed(cell.bed)
    agent = entry.make(bed, cell.num_steps, entry.factor)
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(1), seed))(
        np.arange(cell.num_seeds)
    )
    start = time.perf_counter()
    trace = ar.run(
        keys,
        agent,
        bed.mdp,
        cell.num_steps,
        every=max(1, cell.num_steps // num_records),
        max_noted=min(MAX_NOTED, cell.num_steps + 1),
    )
    seconds = time.perf_counter() - start
    there = trace.switch_step >= 0
    return {
        "agent": cell.agent,
        "bed": cell.bed,
        "num_steps": cell.num_steps,
        "defined_by": defined_by(cell, num_records),
        "seconds": seconds,
        "steps": trace.step.tolist(),
        "regret": np.round(trace.regret.astype(float), 3).tolist(),
        "pseudo_regret": np.round(trace.pseudo_regret.astype(float), 3).tolist(),
        "switches": trace.switches.tolist(),
        "switch_step": [
            steps[1:count].tolist()
            for steps, count in zip(trace.switch_step, there.sum(1), strict=True)
        ],
        "covered": _covered(trace, there),
        "empty": _empty(trace),
        "contradicted": ar.contradicted(trace, agent.span_bound, bed.gain).tolist(),
        "believed": _last_belief(trace, there),
    }


def defined_by(cell: Cell, num_records: int) -> dict[str, float]:
    """What a result depends on: another result of the same name is not this one.

    Gain and span are rounded, since processors solve an MDP to the last digit but one.

    Args:
      cell: who, where, and for how long.
      num_records: points of the curves.
    """
    bed = make_bed(cell.bed)
    return {
        "factor": AGENTS[cell.agent].factor,
        "num_steps": cell.num_steps,
        "num_seeds": cell.num_seeds,
        "num_records": num_records,
        "gain": round(bed.gain, SAME_DIGITS),
        "span": round(bed.span, SAME_DIGITS),
    }


def _covered(trace: ar.Trace, there: np.ndarray) -> list[bool] | None:
    """Of each seed, at every switch that was noted."""
    if "covers" not in trace.notes:
        return None
    return (trace.notes["covers"] | ~there).all(1).tolist()


def _empty(trace: ar.Trace) -> int:
    empty = trace.notes.get("empty")
    return 0 if empty is None else int(empty.any(1).sum())


def _last_belief(trace: ar.Trace, there: np.ndarray) -> float | None:
    gains = trace.notes.get("optimistic_gain")
    if gains is None:
        return None
    last = there.sum(1) - 1
    return float(gains[np.arange(len(last)), last].mean())
