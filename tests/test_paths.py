"""Paths into buckets, and that nothing half-written looks whole there."""

import time

import jax
import numpy as np
import pytest

from sophia_jax import line_files
from sophia_jax.buckets import check_buckets
from sophia_jax.generation.journal import Journal
from sophia_jax.generation.replies import Reply
from sophia_jax.line_files import line_file
from sophia_jax.models.checkpoint_folder import save_checkpoint
from sophia_jax.models.folder import load_model, save_model
from sophia_jax.models.safetensors import read_headers, read_rows, write_tensors
from sophia_jax.paths import (
    as_path,
    is_whole,
    remove_tree,
    resolved,
    whole_file,
    whole_folder,
)
from sophia_jax.recipes.run_folder import open_run_folder
from sophia_jax.rollouts.store import ROUTES, ShardedTable, open_table
from sophia_jax.training import metrics
from sophia_jax.training.metrics import MetricsWriter, read_metrics
from sophia_jax.types import InputError


def objects(buckets):
    """All objects by name, as they are on the disk beneath the stand-in."""
    root = buckets.root / "bucket"
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_a_path_into_a_bucket_keeps_its_two_slashes():
    path = as_path("gs://bucket/run") / "a.json"
    assert str(path) == str(resolved(path)) == "gs://bucket/run/a.json"
    assert str(as_path(path).parent) == "gs://bucket/run"


def test_a_path_on_the_disk_stays_pathlibs(tmp_path):
    assert type(as_path(str(tmp_path))) is type(tmp_path)
    assert resolved(tmp_path / "a" / ".." / "b") == (tmp_path / "b").resolve()


def test_a_file_of_which_the_writing_fails_does_not_appear(buckets):
    def write(path):
        with whole_file(path) as file:
            file.write_text("half")
            raise RuntimeError

    for path in (as_path("gs://bucket/a.json"), buckets.root / "bucket" / "b.json"):
        with pytest.raises(RuntimeError):
            write(path)
    assert objects(buckets) == {}


def test_a_folder_is_whole_when_its_writing_has_ended(buckets):
    path = as_path("gs://bucket/run/model")
    with whole_folder(path) as folder:
        (folder / "a.txt").write_text("a")
        assert not is_whole(path)
    assert is_whole(path)
    assert objects(buckets) == {"run/model/a.txt": b"a"}


def test_a_folder_of_which_the_writing_fails_is_taken_away(buckets):
    with (
        pytest.raises(RuntimeError),
        whole_folder(as_path("gs://bucket/model")) as folder,
    ):
        (folder / "a.txt").write_text("a")
        raise RuntimeError
    assert objects(buckets) == {}


def test_a_model_comes_back_from_a_bucket_as_it_was(buckets, vision_model, tmp_path):
    save_model(vision_model, "gs://bucket/model")
    save_model(vision_model, tmp_path / "model")
    there = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    assert objects(buckets) == {f"model/{name}": there[name] for name in there}
    loaded = load_model("gs://bucket/model")
    assert (loaded.config, loaded.tiles) == (vision_model.config, vision_model.tiles)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, vision_model.params)
    save_model(loaded, tmp_path / "again")  # its tokenizer needs no file any more
    again = (tmp_path / "again" / "tokenizer.json").read_bytes()
    assert again == there["tokenizer.json"]


def test_an_orbax_checkpoint_comes_back_from_a_bucket(buckets, text_model):
    save_checkpoint(text_model, "gs://bucket/checkpoint")
    loaded = load_model("gs://bucket/checkpoint")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, text_model.params)


def test_nothing_but_the_rows_that_are_read_is_sent(buckets):
    tensor = np.arange(40_000, dtype=np.float32).reshape(100, 400)
    folder = as_path("gs://bucket/model")
    write_tensors([("a", tensor), ("b", tensor)], folder)
    headers, problems, _ = read_headers(folder)
    assert problems == []
    buckets.read.clear()
    rows = read_rows("b", headers["b"], slice(7, 9))
    np.testing.assert_array_equal(rows, tensor[7:9])
    assert buckets.read == {"model.safetensors": rows.nbytes}


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"0",
        lambda content: content[:5],
        lambda content: (2**40).to_bytes(8, "little") + content[8:],
        lambda content: content.replace(b"F32", b"F99"),
        lambda content: content.replace(b"[2,3]", b"[2,4]"),
    ],
    ids=["cut", "longer", "no header", "endless header", "dtype", "shape"],
)
def test_damaged_weights_in_a_bucket_are_refused(buckets, damage):
    folder = as_path("gs://bucket/model")
    write_tensors([("a", np.ones((2, 3), np.float32))], folder)
    file = folder / "model.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(InputError, match=f"^{file}: expected a whole safetensors file"):
        read_headers(folder)


def test_a_model_whose_writing_was_killed_is_refused_and_written_again(
    buckets, text_model
):
    for writes in range(1, 40):
        buckets.writes_left = writes
        try:
            save_model(text_model, "gs://bucket/model")
            break
        except buckets.Killed:
            buckets.writes_left = None
            with pytest.raises(InputError, match="gs://bucket/model: expected"):
                load_model("gs://bucket/model")
    assert 5 < writes < 39
    buckets.writes_left = None
    with pytest.raises(InputError, match="expected a folder that does not exist"):
        save_model(text_model, "gs://bucket/model")
    assert load_model("gs://bucket/model").config == text_model.config


def test_a_table_in_a_bucket_goes_on_where_it_was_killed(buckets):
    table = ShardedTable(as_path("gs://bucket/run/routes"), ROUTES, num_shards=3)
    rows = [
        [
            {"question_id": f"q{shard}", "verdicts": ["right"], "solve_rate": 1.0}
            | {"route": "usual", "seed": shard}
        ]
        for shard in range(3)
    ]
    table.write(1, rows[1])
    buckets.writes_left = 1
    with pytest.raises(buckets.Killed):
        table.write(0, rows[0])
    buckets.writes_left = None
    assert table.missing() == [0, 2]
    for shard in table.missing():
        table.write(shard, rows[shard])
    assert open_table("gs://bucket/run/routes").read_all() == sum(rows, [])
    assert list(objects(buckets)) == [
        f"run/routes/0000{shard}-of-00003.parquet" for shard in range(3)
    ]


def test_a_damaged_or_missing_shard_in_a_bucket_is_named(buckets):
    table = ShardedTable(as_path("gs://bucket/routes"), ROUTES, num_shards=1)
    with pytest.raises(InputError, match="gs://bucket/routes/00000.* got no file"):
        table.read(0)
    (table.folder / "00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="gs://bucket/routes/00000.* whole shard"):
        table.read(0)


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_lines_are_there_once_they_are_written(buckets, tmp_path, place):
    path = tmp_path / "a.jsonl" if place == "disk" else as_path("gs://bucket/a.jsonl")
    for number in range(12):  # each by another process
        lines = line_file(path)
        lines.append(f"{number}\n")
        lines.flush()
    assert b"".join(line_file(path).lines()).split() == [b"%d" % n for n in range(12)]
    lines = line_file(path)
    lines.replace(["3\n", "4\n"])
    lines.append("5\n")
    lines.flush()
    assert list(line_file(path).lines()) == [b"3\n", b"4\n", b"5\n"]


def test_lines_that_are_replaced_count_once_though_some_are_left(buckets):
    path = as_path("gs://bucket/a.jsonl")
    lines = line_file(path)
    for text in ("1\n", "2\n", "3\n"):
        lines.append(text)
        lines.flush()
    buckets.writes_left = 3  # the new lines, one old object, and no more
    with pytest.raises(buckets.Killed):
        line_file(path).replace(["6\n"])
    buckets.writes_left = None
    assert len(objects(buckets)) == 3
    assert list(line_file(path).lines()) == [b"6\n"]


def test_lines_of_a_second_are_one_object_and_a_failure_loses_none(
    buckets, monkeypatch
):
    monkeypatch.setattr(line_files, "COLLECT_SECONDS", 0.05)
    path = as_path("gs://bucket/a.jsonl")
    lines = line_file(path)

    def wait_for(is_there):
        for _ in range(1000):
            if is_there():
                return
            time.sleep(0.01)
        raise AssertionError

    buckets.writes_left = 0
    for number in range(50):
        lines.append(f"{number}\n")  # does not wait for the bucket
    wait_for(lambda: lines._error is not None)
    with pytest.raises(buckets.Killed):
        lines.append("50\n")
    buckets.writes_left = None
    wait_for(lambda: objects(buckets))
    assert b"".join(line_file(path).lines()).split() == [b"%d" % n for n in range(51)]
    assert len(objects(buckets)) == 1


def test_metrics_in_a_bucket_go_on_from_the_step_of_a_checkpoint(buckets):
    folder = as_path("gs://bucket/run")
    writer = MetricsWriter(folder)
    for step in range(3):
        writer.write(step, {"loss": 1.0 - step})
    writer.flush()
    writer.write(3, {"loss": 9.0})  # is lost with the process
    buckets.writes_left = 0
    with pytest.raises(buckets.Killed):
        writer.close()
    buckets.writes_left = None
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl")] == [0, 1, 2]
    writer = MetricsWriter(folder, first_step=2)
    writer.write(2, {"loss": 5.0})
    writer.close()
    rows = read_metrics(folder / "metrics.jsonl")
    assert rows == [{"step": n, "loss": loss} for n, loss in enumerate([1.0, 0.0, 5.0])]
    assert any("tfevents" in name for name in objects(buckets))


def test_metrics_that_have_not_grown_are_not_sent_again(buckets, monkeypatch):
    sent = []
    monkeypatch.setattr(metrics, "send", lambda file, path: sent.append(path.name))
    writer = metrics.MetricsWriter(as_path("gs://bucket/run"))
    counts = []
    for step in (0, None, 1, None):
        if step is not None:
            writer.write(step, {"loss": 1.0})
        writer.flush()
        counts.append(sent.count("metrics.jsonl"))  # events come when they like
    writer.close()
    assert counts == [1, 1, 2, 2]


def test_settings_refuse_and_resume_a_run_in_a_bucket(buckets):
    folder = as_path("gs://bucket/run")
    open_run_folder(folder, {"seed": 1}, resume=False, force=False)
    (folder / "left.txt").write_text("left")
    with pytest.raises(InputError, match="gs://bucket/run exists; --resume"):
        open_run_folder(folder, {"seed": 1}, resume=False, force=False)
    with pytest.raises(InputError, match="seed was 1, is 2"):
        open_run_folder(folder, {"seed": 2}, resume=True, force=False)
    open_run_folder(folder, {"seed": 1}, resume=True, force=False)
    assert (folder / "left.txt").is_file()
    open_run_folder(folder, {"seed": 2}, resume=False, force=True)
    assert list(objects(buckets)) == ["run/config.json"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("gs://", "no name of a bucket"),
        ("gs://nowhere/run", "no bucket of this name"),
        ("gs://forbidden/run", "Forbidden: forbidden/run no storage.objects.list"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_one_line(buckets, path, reason):
    with pytest.raises(InputError, match=reason) as refusal:
        check_buckets(["gs://bucket/new", "runs/here", path])
    assert "\n" not in str(refusal.value)


def test_without_gcsfs_it_is_said_how_to_install_it(monkeypatch):
    import fsspec

    def missing(name):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match=r"pip install 'sophia-jax\[gcs\]'"):
        check_buckets(["gs://bucket/run"])


def test_a_journal_in_a_bucket_gives_its_answers_back(buckets):
    path = as_path("gs://bucket/run/reasoner/usual.jsonl")
    journal = Journal(path)
    for number in range(3):
        reply = Reply(f"text {number}", "stop", None, {"answers": 1})
        journal.write({"answers": 1}, key=f"k{number}", reply=reply)
    journal.write({"failures": 2})
    journal.flush()
    assert len(objects(buckets)) == 1
    again = Journal(path)
    assert again.recall({"k1"})["k1"].text == "text 1"
    assert len(objects(buckets)) == 1
    assert Journal(path).counts() == {"answers": 3, "failures": 2}
    assert Journal(path).recall({"k0", "k1"}).keys() == {"k1"}


def test_a_whole_bucket_is_never_deleted(buckets):
    (buckets.root / "bucket" / "a.txt").write_text("a")
    for path in ("gs://bucket", "gs://bucket/"):
        with pytest.raises(InputError, match="a whole bucket, to be deleted"):
            remove_tree(as_path(path))
    with pytest.raises(FileExistsError), whole_folder(as_path("gs://bucket")):
        pass
    remove_tree(as_path("gs://bucket/nothing"))
    assert objects(buckets) == {"a.txt": b"a"}
