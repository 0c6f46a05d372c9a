"""A training run that is killed: python killed_training.py MODEL OUT UPDATE."""

import os
import signal
import sys
from pathlib import Path

import numpy as np

from sophia_jax.config import OptimizerConfig
from sophia_jax.data.packing import Example
from sophia_jax.models.folder import load_model
from sophia_jax.training import objectives
from sophia_jax.training.loop import TrainingConfig, train


def examples():
    rng = np.random.default_rng(3)
    return [
        Example(rng.integers(9, 250, 5), rng.integers(9, 250, 3 + number % 5))
        for number in range(10)
    ]


def config():
    return TrainingConfig(
        OptimizerConfig(num_steps=8, learning_rate=1e-2),
        batch_size=4,
        row_length=32,
        checkpoint_every=3,
    )


def killed_at(update):
    def track(iterable, description, total):
        for step in iterable:
            if step == update:
                os.kill(os.getpid(), signal.SIGKILL)
            yield step

    return track


if __name__ == "__main__":
    folder, out, update = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    model = load_model(folder)
    train(model, examples(), objectives.sophia, config(), out, track=killed_at(update))
