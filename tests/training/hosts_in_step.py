"""A program of two processes that train: ARGUMENTS as JSON.

{"process", "port", "model", "collected", "acts"}: it collects rollouts, and each act
trains in a folder of its own, and leaves there which examples this process read. It
ends as the console does. One process does the same when it calls `act`.
"""

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from sophia_jax.cli.failures import report_failure
from sophia_jax.config import LoraConfig, OptimizerConfig
from sophia_jax.data.packing import Example
from sophia_jax.models.adapters import add_adapters
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.preemption import Preempted, watch_signals
from sophia_jax.recipes.update import save_learnt
from sophia_jax.rewards import Verdict
from sophia_jax.rollouts.tables import RolloutTables
from sophia_jax.sharding import make_mesh
from sophia_jax.sharding.together import is_first, wait_for_all
from sophia_jax.sophia import collect_rollouts
from sophia_jax.training import loop, objectives
from sophia_jax.training.loop import TrainingConfig, train

# Of equal optimizers updates are compiled once.
loop.make_optimizer = functools.cache(loop.make_optimizer)

STEPS, BATCH, EXAMPLES = 4, 16, 48
MESH = {"data": 2, "fsdp": 4}


def example(number, image_token_id):
    """Lengths differ much, and few have pictures: so do the parts of the hosts."""
    rng = np.random.default_rng(number)
    length = 2 if number % 2 else 3 + 40 * (number % 4 == 0)
    prompt = rng.integers(9, 250, 5)
    images = None
    if number % 8 == 0:
        prompt = np.concatenate([np.full(4, image_token_id), prompt])
        images = rng.normal(size=(1, 28, 28, 3)).astype(np.float32)
    target = rng.integers(9, 250, length)
    return Example(prompt, target, images, reward=1 + number / 16)


def config(partition):
    """An update has as many parts as let each shard have one example, of one shape."""
    return TrainingConfig(
        OptimizerConfig(num_steps=STEPS, learning_rate=1e-2),
        batch_size=BATCH,
        row_length=64,
        micro_batches=BATCH // partition.ways("batch"),
        checkpoint_every=2,
    )


def act(model, folder, signalled_at=None, killed_at=None, export=False, lora=False):
    touched, process = [], jax.process_index()
    if lora:  # of each matrix the processes have a share
        save_update(add_adapters(jax.random.key(0), model, LoraConfig(2)), folder)
        return

    def make_example(number):
        touched.append(int(number))
        return example(number, model.config.image_token_id)

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
            range(EXAMPLES),
            objectives.sophia,
            config(model.partition),
            folder,
            make_example=make_example,
            track=track,
        )
    finally:
        (folder / f"touched-{process}.json").write_text(json.dumps(touched))
    if export:
        save_model(trained, folder / "model")


@contextlib.contextmanager
def damaged_for_one(folder, copy):
    """A finished phase, whose last checkpoint the second process cannot read."""
    if is_first():
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("model", "events*"))
    wait_for_all("the copy")
    restore = ocp.StandardCheckpointHandler.restore

    def restore_others(self, path, *arguments, **options):
        if path.parent.name == str(STEPS) and jax.process_index() == 1:
            raise ValueError("damaged")
        return restore(self, path, *arguments, **options)

    with mock.patch.object(ocp.StandardCheckpointHandler, "restore", restore_others):
        yield


def save_update(model, folder):
    """What an update leaves, beside what one that was killed has left."""
    if is_first():
        (folder / "adapters").mkdir(parents=True)
    wait_for_all("what was left")
    own = replace(model, params=jax.tree.map(jnp.copy, model.params))  # it is used up
    save_learnt(own, folder / "model", folder / "adapters", base="base")


def collect(folder):
    """A collection by scripted models, of which each process makes its own shards."""
    path = Path(__file__).parent.parent / "killed_collection.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tables = RolloutTables(folder, script.ITEMS, questions_per_shard=2)
    count = [0]

    def verify(pairs):
        return [Verdict.RIGHT if "{1}" in text else Verdict.WRONG for text, _ in pairs]

    dice = script.Dice(count, None, None)
    settings = script.DIGITS, script.CONFIG
    collect_rollouts(
        dice, dice, verify, lambda texts: [1 for _ in texts], tables, *settings
    )
    tables.selection.read_all()  # all of it is there, for every process
    if count != [0]:  # it is whole already
        (folder / f"drawn-{jax.process_index()}.json").write_text(json.dumps(count))


def crossing():
    """A mesh on which each row is cut between the processes."""
    devices = jax.devices()
    order = [devices[4 * process + place] for place in range(4) for process in range(2)]
    return make_mesh(fsdp=4, context=2, devices=order)


@functools.cache
def load(model, crosses):
    return load_model(model, mesh=crossing() if crosses else make_mesh(**MESH))


def run(model, folder, crosses=False, damaged=None, **options):
    """One act; what a signal stopped is told, and the next one follows."""
    damage = contextlib.nullcontext()
    if damaged is not None:
        damage = damaged_for_one(Path(damaged), folder)
    try:
        with watch_signals(), damage:
            act(load(model, crosses), folder, **options)
    except Preempted as error:
        if not error.together:
            raise
        line, code = report_failure(error, None)
        print(f"{line} ({code})", file=sys.stderr, flush=True)


def main(process, port, model, collected, acts):
    jax.distributed.initialize(
        f"localhost:{port}", 2, process, heartbeat_timeout_seconds=60
    )
    try:
        collect(Path(collected))
        for each in acts:
            run(model, Path(each.pop("folder")), **each)
    except (Exception, Preempted) as error:
        line, code = report_failure(error, None)
        print(line, file=sys.stderr, flush=True)
        os._exit(code)
    return 0


if __name__ == "__main__":
    sys.exit(main(**json.loads(sys.argv[1])))
