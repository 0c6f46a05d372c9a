"""How likely some tokens are the first of an answer: nothing is sampled."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sophia_jax.data.packing import Example, PackedBatch
from sophia_jax.models.model import Model
from sophia_jax.sharding.order import in_order
from sophia_jax.training.layout import place_batch
from sophia_jax.training.scoring import NUMBER, pack_numbered
from sophia_jax.training.step import hidden_states
from sophia_jax.types import Array, Float, Int

__all__ = ["next_token_log_probs"]


def next_token_log_probs(
    model: Model,
    prompts: Sequence[Example],
    token_ids: Sequence[int],
    *,
    row_length: int,
    batch_size: int = 32,
) -> np.ndarray:
    """log π(t | x, v) of some tokens t, in nats, behind each prompt.

    Prompts are packed as in an update; logits exist of their last tokens alone.

    Args:
      model: on one device, or on a mesh.
      prompts: with their pictures; their targets are not looked at.
      token_ids: t, below the model's vocabulary size.
      row_length: the most tokens that a row may have.
      batch_size: prompts that are read together; batches of one shape bucket share a
        program.

    Returns:
      Float32[prompt token], on the host.

    Raises:
      InputError: a prompt is refused by `pack_examples`.
      ValueError: there is no prompt, batch_size is not positive, or the mesh is of
        several processes.
    """
    if not prompts:
        raise ValueError("prompts: expected at least one, got none")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected >= 1, got {batch_size}")
    if jax.process_count() > 1:
        raise ValueError(
            f"model: expected one of a single process, got {jax.process_count()}"
        )
    ids = np.asarray(token_ids, np.int32)
    return np.concatenate(
        [
            _of_batch(
                model, prompts[start : start + batch_size], ids, row_length, batch_size
            )
            for start in range(0, len(prompts), batch_size)
        ]
    )


def _of_batch(
    model: Model,
    prompts: Sequence[Example],
    token_ids: np.ndarray,
    row_length: int,
    batch_size: int,
) -> np.ndarray:
    # A target stands for the place behind the prompt, whatever it is.
    plain = [
        dataclasses.replace(each, target_ids=np.zeros(1, np.int32)) for each in prompts
    ]
    batch = pack_numbered(model, plain, row_length, batch_size)
    with in_order(model.partition):
        placed = place_batch(batch, model.partition)
        found = np.asarray(
            _log_probs(model.graphdef, model.params, placed, token_ids), np.float32
        )
    numbers = batch.signals[NUMBER].astype(int)
    places = {number: place for place, number in enumerate(numbers) if number}
    return found[[places[number] for number in range(1, len(plain) + 1)]]


@functools.partial(jax.jit, static_argnums=0)
def _log_probs(
    graphdef: nnx.GraphDef,
    params: dict,
    batch: PackedBatch,
    token_ids: Int[Array, " token"],
) -> Float[Array, "sequence token"]:
    model = nnx.merge(graphdef, params)
    hidden = hidden_states(model, batch)
    num_shards, embed = len(batch.learnt), hidden.shape[-1]
    places = batch.target_index[:, 0].reshape(num_shards, -1, 1)
    hidden = jnp.take_along_axis(
        hidden.reshape(num_shards, -1, embed), places, axis=1
    ).reshape(-1, embed)
    head = model.decoder.head
    logits = jnp.matmul(hidden, head, preferred_element_type=jnp.float32)
    logits = logits[:, : model.decoder.config.vocab_size]
    return jax.nn.log_softmax(logits)[:, token_ids]
