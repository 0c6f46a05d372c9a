"""Parquet and Arrow: pictures in every spelling, and files that are damaged."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sophia_jax.data.sources import read_source
from sophia_jax.types import InputError


@pytest.fixture
def read(store, tmp_path):
    """Reads columns from a Parquet file, and skips the bad rows."""

    def read(columns, *, skip_bad_rows=True):
        path = tmp_path / "all.parquet"
        pq.write_table(pa.table(columns), path)
        return read_source(path, store=store, skip_bad_rows=skip_bad_rows)

    return read


@pytest.fixture
def one(forms):
    """Columns of one row without an id."""
    return {"prompt": ["How many?"], "answer": ["2"], "image": [forms.encode(1)]}


def test_pictures_may_be_bytes_structs_paths_or_lists_of_them(
    read, one, forms, tmp_path
):
    content = forms.encode(1)
    (tmp_path / "one.png").write_bytes(content)
    spellings = [
        ("image", content),
        ("image", "one.png"),
        ("image", {"bytes": content, "path": "/elsewhere/x.png"}),
        ("image", {"bytes": None, "path": "one.png"}),
        ("images", [content]),
        ("images", [{"bytes": content, "path": None}]),
        ("images", ["one.png"]),
    ]
    for name, value in spellings:
        columns = {key: one[key] for key in ("prompt", "answer")} | {name: [value]}
        (item,) = read(columns).items
        with open(item.images[0], "rb") as file:
            assert file.read() == content


def test_rows_without_an_id_are_named_by_their_number_through_all_files(
    forms, store, tmp_path
):
    for part in range(2):
        row = {"question": "Why?", "answer": "x", "image": forms.encode(part)}
        forms.parquet(tmp_path / "all" / f"{part:04}.parquet", [row, row])
    items = read_source(tmp_path / "all", store=store).items
    assert [item.id for item in items] == ["0", "1", "2", "3"]


def test_numbers_that_have_names_are_read_as_these(read, one):
    features = {
        "answer": {"names": ["A", "B"], "_type": "ClassLabel"},
        "prompt": {"dtype": "string", "_type": "Value"},
    }
    noted = json.dumps({"info": {"features": features}}).encode()
    table = pa.table(one | {"answer": [1]})
    table = table.replace_schema_metadata({b"huggingface": noted})
    assert read(table).items[0].answer == "B"
    assert read(one | {"answer": [1]}).items[0].answer == "1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": [None]}, "answer: expected a non-empty string or a number, got No"),
        ({"answer": [float("nan")]}, "answer: expected a non-empty string or a numb"),
        ({"answer": [["2", "3"]]}, "answer: expected a non-empty string or a number"),
        ({"answer": [True]}, "answer: expected a non-empty string or a number, got Tr"),
        ({"prompt": [[{"role": "user"}]]}, "prompt: expected a non-empty string"),
        ({"prompt": [None]}, "prompt: expected a non-empty string, got None"),
        ({"image": [b"GIF"]}, "image: expected a PNG, JPEG, WebP, GIF, BMP or TIFF fi"),
        ({"image": [7]}, "image: expected a path, got 7"),
        ({"image": ["../a.png"]}, "image: expected a path inside the file's folder"),
        (
            {"image": [{"bytes": None, "path": None}]},
            "image: expected a path, got None",
        ),
        ({"image": [b"\x89PNG\r\n\x1a\n."]}, "image: expected a readable picture"),
        ({"choices": ["A, B"]}, "choices: expected a list of non-empty strings"),
        ({"id": [1.5]}, "id: expected a unique string, got 1.5"),
        ({"level": [["x"]]}, "level: expected a string, a number or nothing"),
    ],
)
def test_a_bad_field_is_named_with_its_row(read, one, change, message, tmp_path):
    with pytest.raises(InputError) as caught:
        read(one | change, skip_bad_rows=False)
    where = f"{tmp_path / 'all.parquet'}: row 0"
    assert str(caught.value).startswith(f"{where}: {message}")


def test_text_that_is_no_utf8_is_a_bad_row_and_not_its_neighbours(read, one):
    binary = pa.array([b"a", b"\xff", b"c"], pa.binary())
    columns = {name: each * 3 for name, each in one.items()}
    columns["id"] = ["0", "1", "2"]
    columns["prompt"] = pa.Array.from_buffers(pa.string(), 3, binary.buffers())
    found = read(columns)
    assert [item.question for item in found.items] == ["a", "c"]
    assert "row 1: row: expected UTF-8, got b'\\xff'" in found.skipped[0]


def test_a_repeated_id_is_a_bad_row(read, one):
    columns = {name: each * 2 for name, each in one.items()} | {"id": ["x", "x"]}
    (skipped,) = read(columns).skipped
    assert skipped.endswith("id: expected a unique string, got 'x' (as in row 0)")


@pytest.mark.parametrize("missing", ["prompt", "answer", "image"])
def test_a_missing_column_is_named(read, one, missing):
    del one[missing]
    with pytest.raises(
        InputError, match=f"all.parquet: expected columns .* got no .*{missing}"
    ):
        read(one)


@pytest.mark.parametrize("broken", [b"", b"PAR1 not at all", "cut"])
def test_a_broken_file_is_one_line(read, one, broken, tmp_path):
    read(one)
    path = tmp_path / "all.parquet"
    content = path.read_bytes()
    path.write_bytes(content[:-20] if broken == "cut" else broken)
    with pytest.raises(InputError, match="all.parquet: expected a Parquet file, got"):
        read_source(path, skip_bad_rows=True)


def test_a_page_that_is_damaged_is_one_line(forms, store, tmp_path, rows):
    path = forms.parquet(tmp_path / "all.parquet", rows)
    content = bytearray(path.read_bytes())
    content[50:4000] = bytes(3950)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"all.parquet.*expected"):
        read_source(path, store=store)


def test_a_folder_of_several_splits_is_not_mixed_together(forms, store, rows, tmp_path):
    for name in ("train-00000-of-00001", "test-00000-of-00001"):
        forms.parquet(tmp_path / "all" / f"{name}.parquet", rows)
    with pytest.raises(
        InputError, match=r"files of one split, got .*test\*\.parquet, "
    ):
        read_source(tmp_path / "all")
    pattern = tmp_path / "all" / "test*.parquet"
    assert len(read_source(pattern, store=store).items) == 10
    forms.arrow(tmp_path / "saved" / "train", rows)
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    with pytest.raises(InputError, match="the folder of one split, got one of train"):
        read_source(tmp_path / "saved")
    for name in ("a-train", "a-test"):
        forms.arrow(tmp_path / name, rows, parts=1)
        (tmp_path / "loose").mkdir(exist_ok=True)
        part = tmp_path / name / "data-00000-of-00001.arrow"
        part.rename(tmp_path / "loose" / f"{name}.arrow")
    with pytest.raises(InputError, match=r"of one split, got .*a-test\*\.arrow, .*tra"):
        read_source(tmp_path / "loose")


@pytest.mark.parametrize(
    "state",
    ["{", "[]", "{}", '{"_data_files": [{"filename": "../x"}]}', '{"_data_files": 3}'],
)
def test_a_damaged_state_of_a_saved_folder_is_refused(forms, rows, tmp_path, state):
    folder = forms.arrow(tmp_path / "saved", rows)
    (folder / "state.json").write_text(state)
    with pytest.raises(InputError, match=r"state\.json: expected _data_files"):
        read_source(folder)


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_broken_arrow_file_is_one_line(forms, rows, tmp_path, content):
    folder = forms.arrow(tmp_path / "saved", rows, parts=1)
    (folder / "data-00000-of-00001.arrow").write_bytes(content)
    with pytest.raises(InputError, match="arrow: expected an Arrow file, got"):
        read_source(folder)
