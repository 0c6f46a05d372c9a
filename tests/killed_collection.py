"""A collection by scripted models. As a program it kills itself: FOLDER COMPLETIONS."""

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np

from sophia_jax.config import SophiaConfig
from sophia_jax.data.prompts import DIGITS
from sophia_jax.rewards import AnswerVerifier
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sophia import collect_rollouts
from sophia_jax.types import Completion, Item

CONFIG = SophiaConfig(num_captions=2, num_reasonings=3, threshold=0.5, seed=7)
ITEMS = tuple(Item(id=f"q{n}", question="?", answer="1", images=()) for n in range(5))
NUM_COMPLETIONS = 5 * 2 + 5 * 2 * 3


class Dice:
    """A `GenerateFn` whose texts follow from seed and sample; `stop` ends it early.

    Attributes:
      count: completions so far, of all dice of a run.
    """

    def __init__(self, count, limit, stop):
        self.count, self.limit, self.stop = count, limit, stop

    def __call__(self, requests):
        samples = [(r, n) for r in requests for n in range(r.num_samples)]
        random.Random(self.count[0]).shuffle(samples)
        for request, sample in samples:
            if self.count[0] == self.limit:
                self.stop()
            self.count[0] += 1
            rng = np.random.default_rng((request.seed, sample))
            text = "." * int(rng.integers(9)) + rf"\boxed{{{rng.integers(2)}}}"
            values = rng.normal(size=len(text) + 1).astype(np.float32)
            token_ids = np.arange(len(text) + 1, dtype=np.int32)
            yield Completion(
                request.group, sample, text, token_ids, values, values, "stop"
            )


def collect(folder, limit=None, stop=None):
    """Collect, or go on with it; `stop` is called after `limit` completions.

    Returns:
      How many completions were sampled.
    """
    count = [0]
    tables = RolloutTables(Path(folder), ITEMS, questions_per_shard=2)
    with AnswerVerifier() as verifier:
        collect_rollouts(
            Dice(count, limit, stop),
            Dice(count, limit, stop),
            verifier.verify,
            lambda texts: [len(text) + 1 for text in texts],
            tables,
            DIGITS,
            CONFIG,
        )
    return count[0]


if __name__ == "__main__":
    collect(sys.argv[1], int(sys.argv[2]), lambda: os.kill(os.getpid(), signal.SIGKILL))
