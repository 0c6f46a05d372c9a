"""How large the page of a run gets, and how soon it opens.

    python scripts/bench_page.py --questions 5000 --captions 8 --reasonings 8

Every question has a picture and texts of its own. Opened by a headless Chromium, that
of $SOPHIA_CHROMIUM or one on the PATH, from the disk: from the start of the navigation
until the first question is painted, until all is loaded, and how long a search through
all texts and a filter take.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from sophia_jax.data.items import write_items
from sophia_jax.rollouts.store import CAPTIONS, REASONINGS, SELECTION, ShardedTable
from sophia_jax.types import Item
from sophia_jax.viz.embedding import MAX_MIB
from sophia_jax.viz.pages import write_page

PER_SHARD = 250
SAMPLE = {"prompt": "", "finish_reason": "stop", "seed": 0}
UNKNOWN = {"behavior_log_probs": None, "policy_log_probs": None}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SEARCH = """word => {
  const began = performance.now(), search = document.getElementById("search");
  search.value = word;
  search.dispatchEvent(new Event("input"));
  return new Promise(done => {
    const seen = new MutationObserver(() => done(performance.now() - began));
    seen.observe(document.getElementById("found"), {childList: true});
  });
}"""


def draw(random: np.random.Generator) -> Image.Image:
    """Strokes on white, as large as the quickstart's pictures."""
    image = Image.new("L", (84, 84), 255)
    pen = ImageDraw.Draw(image)
    for _ in range(3):
        points = [tuple(map(int, xy)) for xy in random.integers(4, 80, (5, 2))]
        pen.line(points, fill=int(random.integers(0, 90)), width=4, joint="curve")
    return image.resize((42, 42)).resize((84, 84))


def sentence(random: np.random.Generator, characters: int) -> str:
    """Words of digits, no two texts alike."""
    digits = random.integers(0, 10_000, -(-characters // 5))
    return " ".join(f"{digit:04d}" for digit in digits)[:characters]


def captions_of(name: str, random: np.random.Generator, number: int) -> list[dict]:
    texts = [sentence(random, 40) for _ in range(number)]
    row = SAMPLE | UNKNOWN | {"question_id": name, "reward": None, "token_ids": [0] * 9}
    return [row | {"caption": c, "text": text} for c, text in enumerate(texts)]


def reasonings_of(
    name: str, random: np.random.Generator, shape: tuple[int, int], characters: int
) -> list[dict]:
    rows = []
    for caption, reasoning in np.ndindex(shape):
        right = bool(random.random() < 0.7)
        rows.append(
            SAMPLE
            | UNKNOWN
            | {
                "question_id": name,
                "caption": caption,
                "reasoning": reasoning,
                "text": sentence(random, characters),
                "token_ids": [0] * int(random.integers(40, 90)),
                "verdict": "right" if right else "wrong",
                "reward": float(right),
            }
        )
    return rows


def selected(name: str, number: int, kept: bool) -> dict:
    place = {"caption": 0, "reasoning": 0, "text": "", "num_tokens": 40}
    rewards = [0.8 if kept else 0.5] * number
    return {
        "question_id": name,
        "least_caption_rewards": rewards,
        "most_caption_rewards": rewards,
        "kept": kept,
        "reason": "kept" if kept else "no caption above the threshold",
        **(place if kept else dict.fromkeys(place)),
        "behavior_log_prob": None,
        "reward": float(kept),
    }


def tables_of(
    names: list[str], random: np.random.Generator, options: argparse.Namespace
) -> list[tuple[str, pa.Schema, list[dict]]]:
    """The rows of one shard of each table."""
    number, shape = options.captions, (options.captions, options.reasonings)
    captions, reasonings, selection = [], [], []
    for name in names:
        captions += captions_of(name, random, number)
        reasonings += reasonings_of(name, random, shape, options.characters)
        selection.append(selected(name, number, random.random() < 0.9))
    return [
        ("captions", CAPTIONS, captions),
        ("reasonings", REASONINGS, reasonings),
        ("selection", SELECTION, selection),
    ]


def write_run(run: Path, options: argparse.Namespace) -> None:
    """A run's questions, pictures and rollouts; its numbers mean nothing."""
    random = np.random.default_rng(0)
    names = [f"train-{n:05d}" for n in range(options.questions)]
    items = [
        Item(name, f"What is {n}?", "7", (), f"kind {n % 5}", "1234 5678")
        for n, name in enumerate(names)
    ]
    write_items(run / "data" / "train", [(item, draw(random)) for item in items])
    starts = range(0, options.questions, PER_SHARD)
    for shard, start in enumerate(starts):
        part = names[start : start + PER_SHARD]
        for name, schema, rows in tables_of(part, random, options):
            table = ShardedTable(run / "rollouts" / name, schema, len(starts))
            table.write(shard, rows)
    settings = {"sophia": {"threshold": 0.75}}
    (run / "config.json").write_text(json.dumps(settings))


def opening_times(page: Path, chromium: str, repeats: int) -> dict[str, list[float]]:
    """Milliseconds, of a new browser context each time."""
    from playwright.sync_api import sync_playwright

    times: dict[str, list[float]] = {
        name: [] for name in ("first question", "loaded", "search", "next search")
    }
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"]
        )
        for _ in range(repeats):
            tab = browser.new_page()
            tab.goto(page.as_uri(), wait_until="load")
            tab.wait_for_timeout(500)
            marks = "performance.getEntriesByName('card painted')[0].startTime"
            loaded = "performance.getEntriesByType('navigation')[0].loadEventEnd"
            times["first question"].append(tab.evaluate(marks))
            times["loaded"].append(tab.evaluate(loaded))
            times["search"].append(tab.evaluate(SEARCH, "123"))
            times["next search"].append(tab.evaluate(SEARCH, "1234"))
            tab.close()
        browser.close()
    return times


def find_chromium() -> str | None:
    """The program that is named, else one on the PATH."""
    named = os.environ.get("SOPHIA_CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=8)
    parser.add_argument("--reasonings", type=int, default=8)
    parser.add_argument("--characters", type=int, default=120, help="of a reasoning")
    parser.add_argument("--max-mib", type=float, default=MAX_MIB)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default=find_chromium(), help="the program")
    parser.add_argument("--keep", type=Path, help="a new folder for the run")
    options = parser.parse_args()
    if options.chromium is None:
        parser.error(f"--chromium: expected a path, found none of {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as folder:
        run = options.keep or Path(folder) / "run"
        write_run(run, options)
        began = time.perf_counter()
        page = write_page(run, max_mib=options.max_mib)
        print(
            f"page       {page.stat().st_size / 2**20:.1f} MiB, written in "
            f"{time.perf_counter() - began:.1f} s"
        )
        times = opening_times(page, options.chromium, options.repeats)
    for name, values in times.items():
        print(
            f"{name:15}{statistics.median(values):7.0f} ms "
            f"[{min(values):.0f}, {max(values):.0f}]"
        )


if __name__ == "__main__":
    main()
