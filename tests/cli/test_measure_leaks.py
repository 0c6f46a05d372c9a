"""The measurement of leaks counts a pair as false only where its pictures differ."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def measure(monkeypatch, capsys):
    """Runs the script on a folder, and gives the lines that it prints."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    script = importlib.import_module("measure_leaks")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["measure_leaks.py", *map(str, arguments)])
        script.main()
        return capsys.readouterr().out.splitlines()

    yield run
    del sys.modules["measure_leaks"]


def write_set(folder, pictures):
    """A set with a question about each picture: its seed, and the quality of its JPEG.

    A seed of None is a picture of one colour.
    """
    folder.mkdir()
    rows = []
    for name, (seed, quality) in pictures.items():
        blocks = np.full((6, 8, 3), 200, np.uint8)
        if seed is not None:
            blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
        picture = Image.fromarray(blocks).resize((160, 120), Image.Resampling.BICUBIC)
        picture.save(folder / f"{name}.jpg", quality=quality)
        row = {"id": name, "question": f"What is {seed}?", "image": f"{name}.jpg"}
        rows.append(json.dumps(row))
    (folder / "items.jsonl").write_text("\n".join(rows))


def test_one_file_and_variants_of_one_question_are_no_false_pair(tmp_path, measure):
    """Of 10 pairs two are none; the rule holds for `again` with its two originals."""
    write_set(tmp_path / "a", {"q_v1": (1, 90), "q_v2": (1, 70), "three": (3, 90)})
    write_set(
        tmp_path / "b", {"same": (3, 90), "again": (3, 60), "one colour": (None, 90)}
    )
    counted, header, *rules, there, back, surroundings = measure(tmp_path)
    assert counted == "pictures: {'a': 3, 'b': 2}, and 1 of one colour"
    assert header.endswith("false of 8 pairs")
    assert len(rules) == 3
    assert all(rule.endswith("  2 {'a and b': 1, 'b': 1}") for rule in rules)
    assert all(rule.count("100.0%") == 8 for rule in rules)  # 7 changes, and all
    assert (there, back) == (
        "questions of a in b: 1 of 3",
        "questions of b in a: 2 of 3",
    )
    assert "pillow" in surroundings


def test_without_sets_there_is_one_line(tmp_path, measure, monkeypatch):
    with pytest.raises(SystemExit, match=r"^folder: expected one with sets .*, got /"):
        measure(tmp_path)
    monkeypatch.delenv("SOPHIA_SHARED", raising=False)
    with pytest.raises(SystemExit, match="SOPHIA_SHARED is not set"):
        measure()
