"""Ten questions with pictures, and what writes them in each form."""

import base64
import csv
import io
import json
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sophia_jax.data.picture_store import PictureStore

CHOICES = ["9 cm", "12 cm", "15 cm", "none"]


def encode(seed, *, size=(64, 48), suffix="PNG"):
    """A picture of its own for each seed, as a file holds it."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, suffix)
    return file.getvalue()


@pytest.fixture(scope="session")
def rows():
    """Fields of ten questions, their pictures as bytes."""
    made = []
    for index in range(10):
        row = {
            "id": f"q{index}",
            "question": f"How long is side {index}?",
            "answer": str(3 * index),
            "choices": [],
            "subject": ("geometry", "algebra")[index % 2],
            "level": index % 3,
            "image": encode(index, suffix=("PNG", "JPEG")[index % 2]),
        }
        if index % 3 == 0:
            row |= {"choices": CHOICES, "answer": "B", "question": "How long is it?"}
        if index == 4:
            row |= {"choices": ["A", "B", "C"], "answer": "C"}
        if index == 5:
            row |= {"choices": ["yes", "no"], "answer": "no"}
        made.append(row)
    return made


def write_jsonl(folder, rows):
    (folder / "images").mkdir(parents=True)
    lines = []
    for row in rows:
        name = f"images/{row['id']}.png"
        (folder / name).write_bytes(row["image"])
        lines.append(json.dumps(row | {"image": name}))
    (folder / "items.jsonl").write_text("\n".join(lines))
    return folder / "items.jsonl"


def write_parquet(path, rows, **columns):
    """With pictures as `datasets` writes them."""
    table = pa.table(as_table(rows) | columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def as_table(rows):
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    columns["image"] = [{"bytes": row["image"], "path": None} for row in rows]
    return columns


def write_arrow(folder, rows, *, parts=2):
    """As `save_to_disk` of `datasets` does, in several files."""
    folder.mkdir(parents=True)
    size = -(-len(rows) // parts)
    names = [f"data-{part:05}-of-{parts:05}.arrow" for part in range(parts)]
    for part, name in enumerate(names):
        table = pa.table(as_table(rows[part * size : (part + 1) * size]))
        with pa.ipc.new_stream(str(folder / name), table.schema) as writer:
            writer.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names]}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def write_tsv(path, rows):
    """As VLMEvalKit has it: an index, base64, options in columns of their own."""
    cells = []
    for row in rows:
        options = dict(zip("ABCD", row["choices"], strict=False))
        fields = {"index": row["id"], "image": base64.b64encode(row["image"]).decode()}
        fields |= {name: row[name] for name in ("question", "answer")}
        fields |= {name: options.get(name, "") for name in "ABCD"}
        cells.append(fields | {"category": row["subject"], "level": row["level"]})
    return write_cells(path, cells)


def write_cells(path, cells):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, cells[0], delimiter="\t")
        writer.writeheader()
        writer.writerows(cells)
    return path


@pytest.fixture(scope="session")
def forms():
    """What writes questions in each form."""
    return types.SimpleNamespace(
        encode=encode,
        jsonl=write_jsonl,
        parquet=write_parquet,
        arrow=write_arrow,
        tsv=write_tsv,
        cells=write_cells,
    )


@pytest.fixture
def store(tmp_path):
    return PictureStore(tmp_path / "pictures")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of its own, for what is unpacked."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"
