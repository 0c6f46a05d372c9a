"""Metrics on the disk: every step once, whatever happened in between."""

import json

import pytest

from sophia_jax.training.metrics import MetricsWriter, read_metrics


def write(folder, steps, *, first_step=0):
    writer = MetricsWriter(folder, first_step=first_step)
    for step in steps:
        writer.write(step, {"loss": 1 / (1 + step), "tokens": step})
    writer.close()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_what_is_written_is_read(tmp_path, path):
    write(tmp_path / "deep" / "folder", range(3))
    rows = read_metrics(tmp_path / "deep" / "folder" / "metrics.jsonl")
    assert rows == [
        {"step": 0, "loss": 1.0, "tokens": 0},
        {"step": 1, "loss": 0.5, "tokens": 1},
        {"step": 2, "loss": 1 / 3, "tokens": 2},
    ]
    assert read_metrics(path) == []


def test_a_resumed_run_leaves_the_lines_of_an_undisturbed_one(tmp_path):
    write(tmp_path / "one", range(8))
    write(tmp_path / "two", range(6))
    write(tmp_path / "two", range(4, 8), first_step=4)
    lines = [
        (tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "two")
    ]
    assert lines[0] == lines[1]


def test_a_line_that_was_cut_off_is_left_out_and_written_again(tmp_path, path):
    write(tmp_path, range(4))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2]
    write(tmp_path, range(3, 4), first_step=3)
    assert path.read_bytes() == whole


def test_lines_that_stay_are_on_the_disk_all_the_time(tmp_path, path):
    write(tmp_path, range(4))
    writer = MetricsWriter(tmp_path, first_step=3)
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2]
    writer.write(3, {"loss": 0.0})
    writer.flush()
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2, 3]
    writer.close()


def test_a_phase_that_begins_anew_drops_all_lines(tmp_path, path):
    write(tmp_path, range(4))
    write(tmp_path, range(1))
    assert [row["step"] for row in read_metrics(path)] == [0]


def test_every_line_is_json_with_its_step_first(tmp_path, path):
    write(tmp_path, range(2))
    for step, line in enumerate(path.read_text().splitlines()):
        assert line.startswith(f'{{"step": {step}, ')
        json.loads(line)


def test_tensorboard_events_lie_beside_the_lines(tmp_path):
    write(tmp_path, range(2))
    [events] = tmp_path.glob("events.out.tfevents.*")
    content = events.read_bytes()
    assert b"loss" in content
    assert b"tokens" in content
