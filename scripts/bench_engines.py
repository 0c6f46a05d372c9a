"""The rollout benchmark's engines: each samples a phase with the lengths forced."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import jax.numpy as jnp
import numpy as np
from bench_measure import seconds_of
from bench_workload import Phase, Run
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.engine import Engine
from sophia_jax.models.model import Model
from sophia_jax.types import Request

OURS = "sophia_jax"
INSTALL = "python -m pip install '.[bench]'"
MOST_LOGIT_DIFFERENCE = 1e-3

# (phase, rows that are decoded together) -> what was drawn
SamplePhase = Callable[[Phase, int], Run]


class ForcedLengths(Engine):
    """Never draws the end token, and stops each sample at its own length."""

    def __init__(self, model: Model, *, slots: int, max_new_tokens: int):
        super().__init__(model, SamplingConfig(max_new_tokens), slots=slots)
        self.banned_ids = (*self.banned_ids, model.tokenizer.eos_token_id)
        self.lengths: dict[str, np.ndarray] = {}

    def limits(self, request: Request) -> np.ndarray:
        """Int[sample]: the most tokens of each of the request's samples."""
        return self.lengths[request.group]


def ours(model: Model, max_new_tokens: int) -> SamplePhase:
    """The engine of this project; one that was made keeps its cache."""
    engines: dict[int, ForcedLengths] = {}

    def sample(phase: Phase, slots: int) -> Run:
        if slots not in engines:
            engines[slots] = ForcedLengths(
                model, slots=slots, max_new_tokens=max_new_tokens
            )
        engines[slots].lengths = phase.lengths
        completions = engines[slots](phase.requests())
        drawn = {(c.group, c.sample): c.token_ids for c in completions}
        return Run(drawn, completions.steps)

    return sample


def build_engine(name: str, model: Model, max_new_tokens: int) -> SamplePhase:
    """The engine of a name, with the model's weights."""
    if name == OURS:
        return ours(model, max_new_tokens)
    if name == "transformers":
        from bench_torch import TransformersEngine

        return TransformersEngine(model)
    from bench_tunix import TunixEngine

    return TunixEngine(model, max_new_tokens)


def missing_peers(peers: tuple[str, ...]) -> list[str]:
    """Those whose packages are not installed."""
    packages = {"transformers": "torch", "tunix": "tunix"}
    return [peer for peer in peers if find_spec(packages[peer]) is None]


def logit_difference(model: Model, engine: SamplePhase, prompt: np.ndarray) -> float:
    """Largest absolute difference of a peer's logits from ours, in nats.

    Raises:
      ValueError: above 1e-3, so that the peer runs another model.
    """
    difference = np.max(np.abs(engine.logits(prompt[None]) - logits(model, prompt)))
    if not difference <= MOST_LOGIT_DIFFERENCE:
        raise ValueError(
            f"logits: expected to differ by at most {MOST_LOGIT_DIFFERENCE}, "
            f"got {difference}"
        )
    return float(difference)


def logits(model: Model, prompt: np.ndarray) -> np.ndarray:
    """Float32[1 token vocab]."""
    decoder = nnx.merge(model.graphdef, model.params).decoder
    positions = jnp.arange(len(prompt))[None]
    embeds = decoder.embedding(prompt[None])
    hidden = decoder(embeds, positions, jnp.ones_like(positions))
    return np.asarray(hidden @ decoder.head)


def fastest_rows(engine: SamplePhase, phase: Phase, choices: tuple[int, ...]) -> int:
    """The batch size that samples a phase's first rows in the least time.

    Args:
      engine: what samples.
      phase: what will be sampled; of several choices, each tries as many rows as the
        largest of them has, and a single one takes the whole phase.
      choices: rows of a batch.

    Returns:
      One of the choices; it has then compiled what it needs.
    """
    trial = phase if len(choices) == 1 else phase.first(max(choices))
    seconds = {}
    for rows in choices:
        engine(trial.shortened(2), rows)
        seconds[rows] = seconds_of(lambda rows=rows: engine(trial, rows))[1]
    return min(seconds, key=seconds.get)
