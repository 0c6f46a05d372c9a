"""The same questions come out of every form, and what is no form is named."""

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageColor

from sophia_jax.data import tfds_items
from sophia_jax.data.sources import read_source, resolve_source
from sophia_jax.types import InputError, Item


def without_paths(items):
    """Items with their pictures' hashes in place of their paths, by id."""

    def digest(path):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()

    changed = [
        dataclasses.replace(item, images=tuple(map(digest, item.images)))
        for item in items
    ]
    return sorted(changed, key=lambda item: item.id)


@pytest.fixture
def expected(forms, rows, tmp_path):
    """What the questions are, written as JSON lines with picture files."""
    items = read_source(forms.jsonl(tmp_path / "expected", rows)).items
    assert len(items) == 10
    return items


def test_the_fields_of_an_item_are_those_of_the_row(expected, tmp_path):
    options = "A. 9 cm\nB. 12 cm\nC. 15 cm\nD. none"
    assert expected[3] == Item(
        id="q3",
        question=f"How long is it?\n{options}",
        answer="(B) 12 cm",
        images=(str(tmp_path / "expected" / "images" / "q3.png"),),
        kind="algebra",
        level="0",
    )
    assert expected[4].answer == "C"  # the options are drawn
    assert expected[5].answer == "(B) no"  # the file has the option's text
    assert expected[7].answer == "21"


@pytest.mark.parametrize("form", ["parquet", "folder", "pattern", "arrow", "tsv"])
def test_every_form_gives_the_same_items(form, expected, forms, rows, tmp_path, home):
    if form == "parquet":
        source = forms.parquet(tmp_path / "all.parquet", rows)
    elif form == "arrow":
        source = forms.arrow(tmp_path / "arrow", rows)
    elif form == "tsv":
        source = forms.tsv(tmp_path / "all.tsv", rows)
    else:
        for part in range(2):
            name = f"train-{part:05}-of-00002.parquet"
            path = tmp_path / "folder" / "data" / name
            forms.parquet(path, rows[5 * part :][:5])
        source = tmp_path / "folder"
        source /= "data/train*.parquet" if form == "pattern" else ""
    lines = []
    read = read_source(source, say=lines.append)
    assert read.skipped == ()
    assert without_paths(read.items) == without_paths(expected)
    assert [item.id for item in read.items] == [row["id"] for row in rows]
    unpacked = home / ".cache" / "sophia_jax" / "pictures"
    assert lines == [f"pictures   10 unpacked to {unpacked}, 0.0 MiB"]
    # A second reading unpacks nothing anew, and finds the same.
    assert read_source(source) == read


def test_tfds_gives_the_same_items(expected, rows, tmp_path, home, monkeypatch):
    """A data set of another builder, found among those that were built."""
    import tensorflow_datasets as tfds

    class Outside(tfds.core.GeneratorBasedBuilder):
        name = "outside"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            text = tfds.features.Text()
            features = dict.fromkeys(("id", "question", "answer", "subject"), text)
            features |= {"choices": tfds.features.Sequence(text)}
            features |= {"level": np.int32}
            features |= {"image": tfds.features.Image(shape=(None, None, 3))}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples()}

        def _generate_examples(self):
            for row in rows:
                yield row["id"], row | {"image": io.BytesIO(row["image"])}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    builder = Outside(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare()
    read = read_source("tfds:outside/test")
    assert without_paths(read.items) == without_paths(expected)
    half = read_source("tfds:outside/test[:50%]").items
    assert half == read.items[:5]


def test_several_decoded_pictures_of_tfds_are_encoded_anew(tmp_path, home, monkeypatch):
    import tensorflow_datasets as tfds

    colours = ("red", "lime")

    class Several(tfds.core.GeneratorBasedBuilder):
        name = "several"
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            text = tfds.features.Text()
            picture = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
            features = {"question": text, "answer": text}
            features |= {"images": tfds.features.Sequence(picture)}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples()}

        def _generate_examples(self):
            files = [io.BytesIO() for _ in colours]
            for colour, file in zip(colours, files, strict=True):
                Image.new("RGB", (4, 3), colour).save(file, "PNG")
                file.seek(0)
            yield 0, {"question": "Which?", "answer": "2", "images": files}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    builder = Several(data_dir=tmp_path / "tfds", file_format="array_record")
    builder.download_and_prepare()
    (item,) = read_source("tfds:several/test").items
    assert item.id == "0"
    for colour, path in zip(colours, item.images, strict=True):
        with Image.open(path) as picture:
            assert picture.getcolors() == [(12, ImageColor.getrgb(colour))]


def test_an_unknown_tfds_name_or_split_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    known = ", ".join(tfds_items.BUILDERS)
    with pytest.raises(InputError, match=f"tfds:none: expected one of {known}, or"):
        read_source("tfds:none/test")
    with pytest.raises(InputError, match="expected tfds:NAME/SPLIT, got 'tfds:none'"):
        read_source("tfds:none")
    with pytest.raises(InputError, match="expected tfds:NAME/SPLIT, got 'tfds:hugging"):
        read_source("tfds:huggingface:evil/test")


def test_what_is_no_form_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected a folder with .*, got notes\.txt$"):
        read_source(tmp_path)
    with pytest.raises(InputError, match=r"notes\.txt: expected items\.jsonl, .*form"):
        read_source(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"expected a pattern of .*, got \[\]"):
        read_source(tmp_path / "*.parquet")


@pytest.mark.parametrize("form", ["jsonl", "parquet", "tsv"])
def test_texts_to_imitate_are_taken_as_they_stand(form, forms, rows, tmp_path, store):
    texts = [row | {"answer": "First, \\boxed{B}"} for row in rows[:2]]
    name = tmp_path / ("folder" if form == "jsonl" else f"all.{form}")
    source = getattr(forms, form)(name, texts)
    with pytest.raises(InputError, match="answer: expected a letter of A to D"):
        read_source(source, store=store)
    read = read_source(source, store=store, use="imitate")
    assert [item.answer for item in read.items] == ["First, \\boxed{B}"] * 2
    assert "\nB. 12 cm\n" in read.items[0].question


def test_texts_to_imitate_need_no_picture(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"id": 1, "question": "2 + 2?", "answer": "It is 4."}')
    (item,) = read_source(path, use="imitate").items
    assert item.images == ()
    with pytest.raises(InputError, match="image: expected a path, or `images`"):
        read_source(path)


@pytest.mark.parametrize("use", ["imitate", "compare"])
@pytest.mark.parametrize(
    "fields",
    [{"images": []}, {"image": ""}, {"images": None}, {"image": "", "images": []}],
)
def test_an_empty_field_is_no_picture_where_none_is_needed(fields, use, tmp_path):
    path = tmp_path / "items.jsonl"
    row = {"id": 1, "question": "2 + 2?", "answer": "It is 4."} | fields
    path.write_text(json.dumps(row))
    read = read_source(path, use=use)
    assert [item.images for item in read.items] == [()]
    with pytest.raises(InputError, match="images?: expected a"):
        read_source(path)


def test_empty_pictures_of_tables_are_none_where_none_is_needed(forms, tmp_path, store):
    path = tmp_path / "all.parquet"
    columns = {"question": ["Why?"] * 2, "answer": ["So."] * 2}
    pq.write_table(pa.table(columns | {"images": [[], [forms.encode(1)]]}), path)
    read = read_source(path, store=store, use="imitate")
    assert [len(item.images) for item in read.items] == [0, 1]
    asked = read_source(path, store=store, skip_bad_rows=True)
    assert (len(asked.items), len(asked.skipped)) == (1, 1)


def test_rows_to_compare_with_need_no_answer(forms, tmp_path, store):
    path = tmp_path / "all.parquet"
    columns = {"question": ["Why?"], "image": [forms.encode(1)]}
    pq.write_table(pa.table(columns), path)
    (item,) = read_source(path, store=store, use="compare").items
    assert (item.question, item.answer, len(item.images)) == ("Why?", "", 1)
    with pytest.raises(InputError, match="got no answer or final_answer among 'q"):
        read_source(path, store=store, use="imitate")


def test_a_source_is_found_from_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_source("items.jsonl") == str(tmp_path / "items.jsonl")
    assert resolve_source("tfds:mathvision/test") == "tfds:mathvision/test"


@pytest.mark.parametrize(
    "form", ["jsonl", "parquet", "folder", "pattern", "arrow", "tsv"]
)
def test_every_form_is_read_from_a_bucket(form, expected, forms, rows, buckets, home):
    bucket = buckets.root / "bucket"
    if form in ("folder", "pattern"):
        for part in range(2):
            path = bucket / "set" / "data" / f"train-{part:05}-of-00002.parquet"
            forms.parquet(path, rows[5 * part :][:5])
        source = "gs://bucket/set" + ("/data/train*.parquet" * (form == "pattern"))
    else:
        suffix = {"parquet": ".parquet", "tsv": ".tsv"}.get(form, "")
        getattr(forms, form)(bucket / f"all{suffix}", rows)
        source = f"gs://bucket/all{suffix}"
    assert resolve_source(source) == source
    read = read_source(source)
    assert read.skipped == ()
    if form == "jsonl":
        assert read.items[0].images[0].startswith("gs://bucket/all/images/")
        on_disk = [
            dataclasses.replace(item, images=tuple(map(buckets.place, item.images)))
            for item in read.items
        ]
        assert without_paths(on_disk) == without_paths(expected)
    else:
        assert without_paths(read.items) == without_paths(expected)


def test_a_source_that_is_not_in_a_bucket_is_named(buckets):
    for name in ("items.jsonl", "all.parquet", "all.tsv", "nothing"):
        with pytest.raises(InputError, match=f"gs://bucket/{name}: expected"):
            read_source(f"gs://bucket/{name}")


def test_rows_on_the_disk_may_name_pictures_in_a_bucket(buckets, tmp_path):
    Image.new("RGB", (28, 28), "red").save(buckets.root / "bucket" / "red.png")
    row = {"id": "q", "question": "Which colour?", "answer": "red"}
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(row | {"image": "gs://bucket/red.png"}))
    assert read_source(path).items[0].images == ("gs://bucket/red.png",)
    path.write_text(json.dumps(row | {"image": "gs://bucket/blue.png"}))
    with pytest.raises(
        InputError, match="readable picture, got 'gs://bucket/blue.png'"
    ):
        read_source(path)


def test_tfds_is_read_from_the_disk_alone(monkeypatch):
    with pytest.raises(InputError, match="TFDS_DATA_DIR on the disk"):
        tfds_items.open_tfds("tfds:mathvision/test", data_dir="gs://bucket/tfds")
