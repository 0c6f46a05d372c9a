"""Kill a run at random moments, resume it until it ends, and compare what it leaves.

    python scripts/kill_and_resume.py --kills 60 --out runs/kills

A `train` run of tiny models (captions, reasonings, selection, updates, export) is made
undisturbed; then again and again with signals, SIGKILL and SIGTERM in turn, each a
random time after a stage began. A run that was killed goes on with --resume, perhaps to
be killed again. In the end it must hold the same bytes as the undisturbed one: tables,
metrics, model, summary; times apart. Prints a table; writes `kills.json` in --out.

The models know nothing, so a judge stands in for the verifier: it takes what begins
with certain letters for right. All else is the program as it is run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from PIL import Image

from sophia_jax.cli import main as console
from sophia_jax.recipes import own_data, update
from sophia_jax.recipes.machine import machine, versions
from sophia_jax.rewards import Verdict
from sophia_jax.training import loop

STAGES = ("captions", "reasonings", "selection", "update", "checkpoint", "export")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
PREEMPTED = 75
FEWEST_OF_EACH = 4  # of a stage and a signal
MOST_SECONDS = 600.0  # of one process
TIMES = {"seconds.json", "report.html", "programs.json"}


class Judge:
    """Takes what an answer begins with for right or wrong."""

    def __enter__(self):
        return self

    def __exit__(self, *exception): ...

    def verify(self, pairs):
        right = [sum(text[:3].encode()) % 3 > 0 for text, _ in pairs]
        return [Verdict.RIGHT if each else Verdict.WRONG for each in right]


def make_inputs(folder: Path) -> list[str]:
    """Tiny models and a few questions; the arguments of the run."""
    models = [(folder / "policy", True), (folder / "reasoner", False)]
    items = folder / "items.jsonl"
    if not items.exists():
        in_child(lambda: [save_tiny_model(*model) for model in models])
        lines = []
        for index in range(8):
            name, color = f"{index}.png", (255, 30 * index, 255)
            Image.new("RGB", (56, 56), color).save(folder / name)
            row = {"id": f"q{index}", "question": "What is the sum?", "answer": "1"}
            lines.append(json.dumps(row | {"image": name}) + "\n")
        items.write_text("".join(lines))
    return [
        *("train", "--policy", str(models[0][0]), "--reasoner", str(models[1][0])),
        *("--data", str(items), "--prompts", "digits"),
        *("--max-caption-tokens", "8", "--max-answer-tokens", "16", "--slots", "16"),
        *("--num-captions", "2", "--num-reasonings", "2", "--threshold", "0"),
        *("--questions-per-shard", "2", "--num-steps", "12", "--batch-size", "2"),
        *("--checkpoint-every", "3", "--learning-rate", "0.01"),
    ]


def save_tiny_model(path: Path, with_vision: bool) -> None:
    """Random weights that end an answer after a few tokens."""
    import jax

    from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
    from sophia_jax.models.folder import save_model
    from sophia_jax.models.internvl import init_params, model_graph
    from sophia_jax.models.model import Model
    from sophia_jax.models.tokenizer import train_tokenizer
    from sophia_jax.tiles import TileGeometry

    tokenizer = train_tokenizer(["The picture: 12 + 34 = 46, 7 - 5 = 2."] * 3, 280)
    text = TextConfig(len(tokenizer), 32, 2, 4, 2, 8, 48, max_length=256)
    config, tiles = ModelConfig(text=text), None
    if with_vision:
        vision = VisionConfig(32, 2, 4, 48, image_size=28, patch_size=7)
        placeholder = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
        config = ModelConfig(text=text, vision=vision, image_token_id=placeholder)
        tiles = TileGeometry(28, max_tiles=4, mean=(0.5,) * 3, std=(0.3,) * 3)
    params = init_params(jax.random.key(1), config)
    decoder = params["decoder"]
    embedding, head = decoder["embedding"]["embedding"], decoder["lm_head"]["kernel"]
    decoder["embedding"]["embedding"] = embedding.at[:, 0].set(4.0)
    bias = jax.nn.one_hot(tokenizer.eos_token_id, len(tokenizer)) * 1.3
    decoder["lm_head"]["kernel"] = head.at[0].set(bias)
    save_model(Model(config, model_graph(config), params, tokenizer, tiles), path)


def in_child(task, log: Path | None = None) -> int:
    """Run a task in a fork, which starts its own JAX; the process's id if logged."""
    child = os.fork()
    if child:
        return child if log else os.waitpid(child, 0)[1]
    code = 1
    try:
        if log is not None:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
        code = task() if log is not None else (task(), 0)[1]
    finally:
        sys.stdout.flush()
        os._exit(code)


def start(arguments: list[str], log: Path) -> tuple[int, int]:
    """Begin a run; its process, and where it tells of its stages."""
    told, tells = os.pipe()

    def run() -> int:
        watch_stages(tells)
        return console.main(arguments)

    child = in_child(run, log)
    os.close(tells)
    return child, told


def watch_stages(tells: int) -> None:
    """Tell when each stage begins, a letter each."""

    def telling(module, name: str, stage: str) -> None:
        function = getattr(module, name)

        def told(*arguments, **options):
            os.write(tells, bytes([STAGES.index(stage)]))
            return function(*arguments, **options)

        setattr(module, name, told)

    from sophia_jax import sophia

    own_data.AnswerVerifier = Judge
    telling(sophia, "write_captions", "captions")
    telling(sophia, "write_reasonings", "reasonings")
    telling(sophia, "select_trajectories", "selection")
    telling(loop, "train_step", "update")
    telling(loop.Checkpoints, "save", "checkpoint")
    telling(update, "save_model", "export")


def run_until(process: tuple[int, int], target=None) -> tuple[int, list, str | None]:
    """Follow a run; kill it at its target, if it has one.

    Args:
      process: of `start`.
      target: (stage, how often it is to have begun, seconds after that, signal).

    Returns:
      The exit code; (stage, when it began); and the stage in which it was killed.
    """
    child, told = process
    begun, due, killed = [], None, None
    deadline = time.monotonic() + MOST_SECONDS
    while True:
        now = time.monotonic()
        if now > deadline:
            os.kill(child, signal.SIGKILL)
        if due is not None and now >= due and killed is None:
            os.kill(child, target[3])
            killed = begun[-1][0]
        wait = 1.0 if due is None or killed else max(0.0, due - now)
        if not select.select([told], [], [], wait)[0]:
            continue
        letters = os.read(told, 1)
        if not letters:
            break
        begun.append((STAGES[letters[0]], time.monotonic()))
        seen = sum(stage == begun[-1][0] for stage, _ in begun)
        if target is not None and begun[-1][0] == target[0] and seen == target[1]:
            due = time.monotonic() + target[2]
    os.close(told)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), begun, killed


def stored(run: Path) -> dict[str, object]:
    """Everything that a run leaves, without times and checkpoints."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        passing = "tfevents" in name or "/checkpoints/" in name
        if path.is_file() and path.name not in TIMES and not passing:
            found[name] = path.read_bytes()
    summary = json.loads(found["summary.json"])
    summary.pop("seconds")
    return found | {"summary.json": summary}


def lengths(begun: list) -> dict[str, tuple[int, float]]:
    """How often each stage begins, and how long the first of them lasts at most."""
    gaps = {stage: [] for stage in STAGES}
    for (stage, start_), (_, end) in zip(begun, begun[1:], strict=False):
        gaps[stage].append(end - start_)
    gaps["export"].append(0.2)
    return {stage: (len(each), min(max(each), 3.0)) for stage, each in gaps.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--kills-per-run", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/kills"))
    options = parser.parse_args()
    folder = options.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    arguments, rng = make_inputs(folder), random.Random(options.seed)
    whole, log = folder / "undisturbed", folder / "log.txt"
    for _ in range(2):  # the second time with compiled programs, as it is resumed
        shutil.rmtree(whole, ignore_errors=True)
        code, begun, _ = run_until(start([*arguments, "--out", str(whole)], log))
        if code:
            sys.exit(f"the undisturbed run ended with {code}; see {log}")
    expected, stages = stored(whole), lengths(begun)
    kills, runs, began = [], 0, time.monotonic()
    while not enough(kills, options.kills):
        kills += killed_run(
            [*arguments, "--out", str(folder / "killed"), "--resume"],
            *(folder / "killed", log, expected, stages, rng, kills),
            options.kills_per_run,
        )
        runs += 1
        print(f"{runs} runs, {len(kills)} kills", file=sys.stderr, flush=True)
    summary = {
        "command": " ".join(["python", *sys.argv]),
        "runs": runs,
        "kills": kills,
        "seconds": time.monotonic() - began,
        "versions": versions(),
        "machine": machine(),
    }
    (folder / "kills.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(table(kills))
    if not all(kill["identical"] and kill["as_told"] for kill in kills):
        sys.exit("a run did not end as if it had not been killed")


def enough(kills: list[dict], wanted: int) -> bool:
    counts = Counter((kill["stage"], kill["signal"]) for kill in kills)
    each = [counts[s, number.name] for s in STAGES for number in SIGNALS]
    return len(kills) >= wanted and min(each) >= FEWEST_OF_EACH


def killed_run(
    arguments, run: Path, log: Path, expected, stages, rng, kills, most: int
) -> list[dict]:
    """One run, killed up to `most` times; it must end as the undisturbed one."""
    shutil.rmtree(run, ignore_errors=True)
    mine = []
    while True:
        target = None
        if len(mine) < most:
            number = SIGNALS[(len(kills) + len(mine)) % 2]
            target = choose(rng, stages, [*kills, *mine], mine, number)
        code, _, stage = run_until(start(arguments, log), target)
        if stage is not None:
            codes = {0, PREEMPTED if number == signal.SIGTERM else -number}
            told = {"stage": stage, "signal": number.name, "code": code}
            mine.append(told | {"as_told": code in codes})
        if code == 0:
            break
        if stage is None or not mine[-1]["as_told"]:
            sys.exit(f"a resumed run ended with {code} after {mine}; see {log}")
    found = stored(run)
    names = expected.keys() | found.keys()
    differ = sorted(n for n in names if expected.get(n) != found.get(n))
    return [kill | {"identical": not differ, "differ": differ} for kill in mine]


def choose(rng, stages, kills: list[dict], mine, number: signal.Signals) -> tuple:
    """A random moment that may still come, in a stage that such signals met seldom."""
    counts = Counter(kill["stage"] for kill in kills if kill["signal"] == number.name)
    last = STAGES.index(mine[-1]["stage"]) if mine else 0
    # Updates and checkpoints alternate.
    left = STAGES[min(last, STAGES.index("update")) :]
    stage = min(left, key=lambda stage: counts[stage] + 2 * rng.random())
    times, seconds = stages[stage]
    return stage, rng.randint(1, max(1, times // 3)), rng.uniform(0, seconds), number


def table(kills: list[dict]) -> str:
    """A row for each stage and signal."""
    lines = [f"{'stage':12}{'signal':10}{'kills':>6}{'identical':>11}"]
    for stage in STAGES:
        for number in SIGNALS:
            met = {"stage": stage, "signal": number.name}
            mine = [kill["identical"] for kill in kills if met.items() <= kill.items()]
            lines.append(f"{stage:12}{number.name:10}{len(mine):>6}{sum(mine):>11}")
    total = sum(kill["identical"] for kill in kills)
    return "\n".join([*lines, f"{'all':22}{len(kills):>6}{total:>11}"])


if __name__ == "__main__":
    main()
