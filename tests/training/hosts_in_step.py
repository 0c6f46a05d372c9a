"""A program of one or two processes that train: ARGUMENTS as JSON.

{"process", "processes", "port", "model", "acts"}: each act trains in a folder of its
own, and leaves there which examples this process read. It ends as the console does.
"""

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from sophia_jax.cli.failures import report_failure
from sophia_jax.config import OptimizerConfig
from sophia_jax.data.packing import Example
from sophia_jax.losses import sophia_loss
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.preemption import Preempted, watch_signals
from sophia_jax.sharding import make_mesh
from sophia_jax.training.loop import TrainingConfig, train

DEVICES = 8


def example(number):
    """Lengths differ much, so that the hosts' parts differ in their sizes; some have
    pictures."""
    rng = np.random.default_rng(number)
    length = 2 if number % 2 else 3 + 40 * (number % 4 == 0)
    prompt = rng.integers(9, 250, 5)
    images = None
    if number % 3 == 0:
        prompt = np.concatenate([np.full(4, IMAGE), prompt])
        images = rng.normal(size=(1, 28, 28, 3)).astype(np.float32)
    target = rng.integers(9, 250, length)
    return Example(prompt, target, images, reward=1 + number / 16)


def config(num_steps):
    return TrainingConfig(
        OptimizerConfig(num_steps=num_steps, learning_rate=1e-2),
        batch_size=DEVICES * 2,
        row_length=64,
        micro_batches=2 if num_steps < 100 else 1,
        checkpoint_every=3,
    )


def act(model, folder, num_steps, signalled_at=None, killed_at=None, export=False):
    touched, process = [], jax.process_index()

    def make_example(number):
        touched.append(int(number))
        return example(number)

    def track(iterable, description, total):
        for step in iterable:
            if step == signalled_at and process == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            if step == killed_at and process == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield step

    try:
        trained = train(
            model,
            range(48),
            sophia_loss,
            config(num_steps),
            folder,
            make_example=make_example,
            track=track,
        )
    finally:
        (folder / f"touched-{process}.json").write_text(json.dumps(touched))
    if export:
        save_model(trained, folder / "model")


def main(process, processes, port, model, mesh, acts):
    global IMAGE
    if processes > 1:
        jax.distributed.initialize(
            f"localhost:{port}", processes, process, heartbeat_timeout_seconds=10
        )
    with watch_signals():
        try:
            model = load_model(model, mesh=make_mesh(**mesh))
            IMAGE = model.config.image_token_id
            for each in acts:
                act(model, Path(each.pop("folder")), **each)
        except (Exception, Preempted) as error:
            line, code = report_failure(error, None)
            print(line, file=sys.stderr, flush=True)
            if not getattr(error, "together", False):
                os._exit(code)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
