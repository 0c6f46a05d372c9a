"""Shards appear whole or not at all, and hold exactly what was written."""

import errno
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sophia_jax.rollouts.store import (
    CAPTIONS,
    REASONINGS,
    SELECTION,
    ShardedTable,
    open_table,
)
from sophia_jax.types import InputError

SAMPLE = {
    "prompt": "Describe.",
    "text": "Zwei Punkte über √2",
    "token_ids": [5, 0, 151645],
    "behavior_log_probs": [-0.5, -0.25, -1.0],
    "policy_log_probs": None,
    "finish_reason": "stop",
}
CAPTION = (
    {"question_id": "q", "caption": 0} | SAMPLE | {"reward": None, "seed": 2**64 - 1}
)
REASONING = (
    {"question_id": "q", "caption": 1, "reasoning": 7}
    | SAMPLE
    | {"verdict": "undecided", "reward": 0.0, "seed": 0}
)
SELECTED = {
    "question_id": "q",
    "least_caption_rewards": [0.25, 1.0],
    "most_caption_rewards": [0.5, 1.0],
    "kept": True,
    "reason": "kept",
    "caption": 1,
    "reasoning": 7,
    "text": "So 2.",
    "num_tokens": 4,
    "behavior_log_prob": -3.25,
    "reward": 1.0,
}
OF_KEPT = ("caption", "reasoning", "text", "num_tokens", "behavior_log_prob")
DROPPED = SELECTED | dict.fromkeys(OF_KEPT)
NAME = "00000-of-00001.parquet"


def captions(tmp_path, num_shards=1):
    return ShardedTable(tmp_path / "captions", CAPTIONS, num_shards)


def rows(count):
    return [CAPTION | {"caption": index} for index in range(count)]


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        (CAPTIONS, [CAPTION, CAPTION | {"policy_log_probs": [0.0, -1.5, -2.0]}]),
        (REASONINGS, [REASONING]),
        (SELECTION, [SELECTED, DROPPED | {"kept": False, "reward": 0.0}]),
        (CAPTIONS, []),
    ],
)
def test_rows_read_back_equal(tmp_path, schema, written):
    table = ShardedTable(tmp_path / "seed=1" / "table", schema, 1)
    table.write(0, written)
    assert table.read(0) == written
    assert table.read_all() == written
    assert open_table(table.folder) == table


def test_arrays_are_stored_as_lists(tmp_path):
    table = captions(tmp_path)
    arrays = {
        "token_ids": np.array([5, 0, 151645]),
        "behavior_log_probs": np.array([-0.5, -0.25, -1.0], np.float32),
        "seed": np.uint64(2**64 - 1),
    }
    table.write(0, [CAPTION | arrays])
    assert table.read(0) == [CAPTION]


def test_same_rows_give_the_same_bytes(tmp_path):
    first, second = captions(tmp_path / "first"), captions(tmp_path / "second")
    first.write(0, rows(50))
    second.write(0, [dict(reversed(row.items())) for row in rows(50)])
    written = (first.folder / NAME).read_bytes()
    assert written == (second.folder / NAME).read_bytes()
    first.write(0, rows(49))
    assert written != (first.folder / NAME).read_bytes()
    first.write(0, rows(50))
    assert written == (first.folder / NAME).read_bytes()


def test_a_plain_reader_sees_one_table_of_zstd_shards(tmp_path):
    table = captions(tmp_path, 2)
    table.write(0, rows(2))
    table.write(1, rows(3))
    whole = pq.read_table(table.folder)
    assert whole.column_names == CAPTIONS.names
    assert whole["caption"].to_pylist() == [0, 1, 0, 1, 2]
    column = pq.ParquetFile(table.folder / "00001-of-00002.parquet").metadata
    assert column.row_group(0).column(0).compression == "ZSTD"


def test_missing_shards_are_listed_until_the_table_is_whole(tmp_path):
    table = captions(tmp_path, 3)
    assert table.missing() == [0, 1, 2]
    table.write(1, rows(1))
    assert table.missing() == [0, 2]
    with pytest.raises(InputError) as caught:
        table.read_all()
    first = table.folder / "00000-of-00003.parquet"
    assert str(caught.value).startswith(f"{first}: expected all 3 shards, got 1")
    with pytest.raises(
        InputError, match=r"00002-of-00003\.parquet: expected a written"
    ):
        table.read(2)
    table.write(0, rows(2))
    table.write(2, rows(1))
    assert table.missing() == []
    assert [row["caption"] for row in table.read_all()] == [0, 1, 0, 0]


def test_table_of_another_total_is_not_resumed(tmp_path):
    captions(tmp_path, 3).write(1, rows(1))
    other = captions(tmp_path, 4)
    for use in (other.missing, other.read_all):
        with pytest.raises(
            InputError, match=r"expected 4 shards, got files of .* of 3"
        ):
            use()


def test_open_table_refuses_what_is_not_one_table(tmp_path):
    table = captions(tmp_path, 3)
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="expected shards of one table, got none"):
            open_table(folder)
    table.write(1, rows(1))
    assert open_table(table.folder).missing() == [0, 2]
    captions(tmp_path, 4).write(2, rows(1))
    with pytest.raises(InputError, match=r"expected shards .* got totals \[3, 4\]"):
        open_table(table.folder)


def test_killed_write_leaves_no_shard_and_its_leftover_goes(tmp_path, monkeypatch):
    table = captions(tmp_path, 2)
    table.write(0, rows(1))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            table.write(1, rows(1))
    assert table.missing() == [1]
    assert len(list(table.folder.glob("*.tmp"))) == 1
    assert len(pq.read_table(table.folder)) == 1
    table.write(1, rows(2))
    assert list(table.folder.glob("*.tmp")) == []
    assert table.read(1) == rows(2)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_full_disk_is_one_line_and_keeps_the_old_shard(tmp_path, monkeypatch, failing):
    table = captions(tmp_path)
    table.write(0, rows(1))

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(InputError) as caught:
            table.write(0, rows(2))
    expected = "expected to write it, got No space left on device"
    assert str(caught.value) == f"{table.folder / NAME}: {expected}"
    assert [path.name for path in table.folder.iterdir()] == [NAME]
    assert table.read(0) == rows(1)


def test_content_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("fsync"), fsync(file)))
    monkeypatch.setattr(
        os, "replace", lambda *paths: (calls.append("replace"), replace(*paths))
    )
    captions(tmp_path).write(0, rows(1))
    assert calls == ["fsync", "replace"]


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "captions").write_text("a file")
    with pytest.raises(InputError, match=f"{NAME}: expected to write it, got File"):
        captions(tmp_path).write(0, rows(1))


def test_every_damaged_shard_is_named(tmp_path):
    table = captions(tmp_path)
    table.write(0, rows(20))
    path = table.folder / NAME
    whole = path.read_bytes()
    renamed = whole.replace(b"finish_reason", b"finish_reaso\xff")
    for damaged in (b"", b"no parquet", whole[:-20], whole[: len(whole) // 2], renamed):
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            table.read(0)
        assert str(caught.value).startswith(f"{path}: expected a whole shard, got ")
        assert "\n" not in str(caught.value)
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match=f"{NAME}: expected a whole shard"):
        open_table(table.folder)


def test_no_damaged_byte_of_the_data_gives_other_rows(tmp_path):
    table = captions(tmp_path)
    table.write(0, rows(20))
    path = table.folder / NAME
    whole = path.read_bytes()
    # A Parquet file ends with its footer, the footer's length in 4 bytes, and "PAR1".
    data_end = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    num_refused = 0
    for position in range(4, data_end, 3):
        damaged = bytearray(whole)
        damaged[position] ^= 8
        path.write_bytes(damaged)
        try:
            assert table.read(0) == rows(20)
        except InputError:
            num_refused += 1
    assert num_refused > data_end / 6


def test_shard_of_another_schema_is_named(tmp_path):
    captions(tmp_path).write(0, rows(1))
    table = ShardedTable(tmp_path / "captions", SELECTION, 1)
    message = f"{NAME}: expected the columns question_id string, least_cap.*, got"
    with pytest.raises(InputError, match=message):
        table.read(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, r"captions row 1: .* missing \[\] and unknown \['extra'\]"),
        ({"text": None}, "text: expected no null, got one in row 1"),
        ({"text": 3}, "text: expected values of string, got"),
        ({"caption": 2**31}, "caption: expected values of int32, got"),
        ({"seed": -1}, "seed: expected values of uint64, got"),
        ({"token_ids": ["a"]}, "token_ids: expected values of list<.*int32>, got"),
    ],
)
def test_rows_that_do_not_fit_are_refused_and_nothing_is_written(
    tmp_path, change, message
):
    table = captions(tmp_path)
    with pytest.raises(ValueError, match=message):
        table.write(0, [CAPTION, CAPTION | change])
    assert not table.folder.exists()


def test_missing_key_is_refused(tmp_path):
    row = {key: value for key, value in CAPTION.items() if key != "seed"}
    message = r"captions row 0: .* missing \['seed'\] and unknown \[\]"
    with pytest.raises(ValueError, match=message):
        captions(tmp_path).write(0, [row])


def test_shards_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_shards: expected 1 to 99999, got 0"):
        captions(tmp_path, 0)
    with pytest.raises(ValueError, match="shard: expected 0 to 1, got 2"):
        captions(tmp_path, 2).write(2, [])
    with pytest.raises(ValueError, match="shard: expected 0 to 1, got -1"):
        captions(tmp_path, 2).read(-1)


def test_schemas_have_the_columns_that_readers_rely_on():
    assert CAPTIONS.field("seed").type == pa.uint64()
    assert REASONINGS.field("token_ids").type == pa.list_(pa.int32())
    nullable = [field.name for field in CAPTIONS if field.nullable]
    assert nullable == ["behavior_log_probs", "policy_log_probs", "reward"]
    nullable = [field.name for field in REASONINGS if field.nullable]
    assert nullable == ["behavior_log_probs", "policy_log_probs", "reward"]
    nullable = [field.name for field in SELECTION if field.nullable]
    assert nullable == list(OF_KEPT)
