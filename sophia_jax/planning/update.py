"""The policy update: the library's own training step, over the whole slice."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.config import ModelConfig
from sophia_jax.data.packing import BUCKETS, PackedBatch
from sophia_jax.data.rows import bucket_size
from sophia_jax.models.internvl import abstract_params, model_graph
from sophia_jax.models.logical_axes import check_partition, param_shardings
from sophia_jax.planning.compiling import Program, shard_bytes
from sophia_jax.planning.counts import BYTES, WIDE, layer_bytes
from sophia_jax.planning.run_plan import RunPlan, optimizer_config
from sophia_jax.sharding import TRAINING, Partition, make_mesh
from sophia_jax.training import objectives
from sophia_jax.training.layout import batch_shardings, optimizer_shardings
from sophia_jax.training.optimizer import make_optimizer
from sophia_jax.training.step import MOST_LOGITS, TrainState, lower_train_step

__all__ = ["Update"]


@dataclass(frozen=True)
class Update:
    """One update of the policy.

    Attributes:
      plan: of the run.
      config: of the policy, its vocabulary padded.
      devices: of all slices.
    """

    plan: RunPlan
    config: ModelConfig
    devices: Sequence[jax.Device]

    @functools.cached_property
    def partition(self) -> Partition:
        mesh = make_mesh(**vars(self.plan.mesh), devices=self.devices)
        partition = Partition(mesh, TRAINING)
        check_partition(self.config, partition)
        return partition

    @property
    def shards(self) -> int:
        """Shares of the mesh that have rows of their own."""
        return self.partition.ways("batch")

    @property
    def mean_length(self) -> int:
        """Tokens of a trajectory: pictures, question, reasoning."""
        sizes = self.plan.sizes
        length = sizes.question_tokens + sizes.reasoning_tokens
        length += math.ceil(sizes.tiles * self.config.tokens_per_tile)
        return min(length, self.plan.max_length)

    def parts(self, rows: int) -> int:
        """Micro-batches of an update, each with so many rows in every shard."""
        tokens = self.plan.batch_size * self.mean_length
        return math.ceil(tokens / (self.plan.max_length * rows * self.shards))

    @property
    def weights(self) -> dict:
        """Shapes and places of the weights, adapters apart."""
        params = self.state.params
        return {part: params[part] for part in params if part != "adapters"}

    @property
    def learning(self) -> int:
        """How many numbers learn."""
        parts = [self.state.params[part] for part in self.state.trainable]
        return sum(leaf.size for leaf in jax.tree.leaves(parts))

    @functools.cached_property
    def state(self) -> TrainState:
        """Shapes and places of weights and optimizer state."""
        lora = self.plan.lora
        params = _placed(
            abstract_params(self.config, lora=lora),
            param_shardings(self.config, self.partition, lora=lora),
            dtype=jnp.bfloat16,
        )
        trainable = ("decoder",)
        if lora is not None:
            params["adapters"] = jax.tree.map(
                lambda leaf: leaf.update(dtype=jnp.float32), params["adapters"]
            )
            trainable = ("adapters",)
        optimizer = make_optimizer(optimizer_config(self.plan))
        learnt = {part: params[part] for part in trainable}
        opt_state = jax.eval_shape(optimizer.init, learnt)
        places = optimizer_shardings(opt_state, learnt, self.partition)
        step = jax.ShapeDtypeStruct((), jnp.int32, sharding=self.partition.sharding())
        return TrainState(
            params=params,
            opt_state=_placed(opt_state, places),
            step=step,
            graphdef=model_graph(self.config, self.partition, lora=lora),
            partition=self.partition,
            optimizer=optimizer,
            objective=objectives.sophia,
            measure=objectives.off_policy_measures,
            trainable=trainable,
            remat=self.plan.remat,
        )

    def batch(self, rows: int) -> PackedBatch:
        """A batch of the largest kind: a trajectory with pictures fills a row."""
        shards, length = self.shards, self.plan.max_length
        sequences = bucket_size(rows, BUCKETS.sequences)
        prompt = self.plan.tiles * self.config.tokens_per_tile
        prompt += self.plan.sizes.question_tokens
        targets = bucket_size(max(1, length - prompt), BUCKETS.targets)
        learnt = bucket_size(rows * targets, BUCKETS.learnt)
        tiles = bucket_size(rows * self.plan.tiles, BUCKETS.tiles)
        embed = self.config.text.hidden_size
        features = (shards * tiles, self.config.tokens_per_tile, embed)
        by_row, by_sequence = (shards * rows, length), (shards * sequences, targets)

        def part(*shape: int, dtype: jnp.dtype = jnp.int32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.parts(rows), *shape), dtype)

        batch = PackedBatch(
            token_ids=part(*by_row),
            positions=part(*by_row),
            segment_ids=part(*by_row),
            image_index=part(*by_row),
            images=part(*features, dtype=jnp.bfloat16) if prompt else None,
            target_index=part(*by_sequence),
            target_ids=part(*by_sequence),
            target_mask=part(*by_sequence, dtype=bool),
            learnt=part(shards, learnt),
            reward=part(by_sequence[0], dtype=jnp.float32),
            behavior_log_prob=part(by_sequence[0], dtype=jnp.float32),
            signals={},
        )
        return _placed(batch, batch_shardings(batch, self.partition))

    def program(self, rows: int) -> Program:
        """The training step."""
        batch = self.batch(rows)
        return Program(
            lambda: lower_train_step(self.state, batch),
            {
                "weights": shard_bytes(self.state.params),
                "optimizer": shard_bytes(self.state.opt_state),
                "inputs": shard_bytes(batch),
            },
            working=self._working(rows),
        )

    def _working(self, rows: int) -> int:
        """What is kept of each layer, one layer formed again, logits, gradients."""
        text, mesh = self.config.text, self.plan.mesh
        tokens = rows * self.plan.max_length / mesh.context
        one = layer_bytes(text, tokens, tensor=mesh.tensor)
        kept = text.num_layers * tokens * text.hidden_size * BYTES
        if self.plan.remat != "block":
            kept = text.num_layers * one
        gradients = WIDE * self.learning / (mesh.fsdp * mesh.tensor)
        return round(kept + 2 * one + 2 * MOST_LOGITS * WIDE + gradients)


def _placed(tree: object, places: object, dtype: jnp.dtype | None = None) -> object:
    """Shapes with their places, perhaps in another dtype."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(
            leaf.shape, dtype or leaf.dtype, sharding=place
        ),
        tree,
        places,
    )
