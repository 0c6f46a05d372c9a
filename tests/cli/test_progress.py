"""Progress is a bar on a terminal and lines elsewhere, and changes nothing."""

import io

import pytest
from rich.console import Console

from sophia_jax.cli import progress
from sophia_jax.cli.progress import Display


def display_on(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    return Display(console), file


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_tracked_comes_through_in_order(terminal):
    display, file = display_on(terminal)
    assert list(display.track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert "3/3" in file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_loop_of_nothing_shows_nothing(terminal):
    display, file = display_on(terminal)
    assert list(display.track([], "nothing", 0)) == []
    assert file.getvalue() == ""


def test_lines_come_every_ten_seconds_and_at_the_end(monkeypatch):
    display, file = display_on(False)
    seconds = iter([0, 4, 8, 12, 16])  # 12 is the first that is 10 after the start
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    list(display.track(range(4), "updates", 4))
    # After 3 of 4 in 12 s, one is left, of 4 s.
    assert file.getvalue().splitlines() == [
        "updates    3/4, 12 s, 4 s left",
        "updates    4/4, 16 s, 0 s left",
    ]


def test_a_line_may_be_said_while_a_bar_runs_and_is_taken_literally():
    display, file = display_on(True)
    for _ in display.track(range(2), "updates", 2):
        display.say("[bold]pass@1[/bold]")
    assert file.getvalue().count("[bold]pass@1[/bold]") == 2


def test_two_loops_side_by_side_share_the_terminal():
    display, file = display_on(True)
    first = display.track(range(2), "first", 2)
    second = display.track(range(3), "second", 3)
    assert [next(first), next(second), *first, *second] == [0, 0, 1, 1, 2]
    last_picture = file.getvalue().rpartition("first")[2]
    assert "2/2" in last_picture
    assert "3/3" in last_picture


def test_a_loop_that_is_broken_off_leaves_room_for_another():
    display, _ = display_on(True)
    loop = display.track(range(3), "first", 3)
    next(loop)
    display.close()
    assert list(display.track(range(2), "second", 2)) == [0, 1]
    loop.close()


@pytest.mark.parametrize("terminal", [False, True])
def test_bytes_are_shown_with_their_rate(terminal, monkeypatch):
    display, file = display_on(terminal)
    sizes = [400_000_000, 800_000_000]
    if not terminal:
        seconds = iter([0, 12, 24])
        monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    list(display.track(sizes, "weights", sum(sizes), size_of=lambda size: size))
    shown = file.getvalue()
    assert "1.2/1.2 GB, " in shown
    if not terminal:
        # 0.4 GB in 12 s, so that twice as much is left for 24 s; then 1.2 GB in 24 s.
        assert shown.splitlines() == [
            "weights    0.4/1.2 GB, 0.03 GB/s, 12 s, 24 s left",
            "weights    1.2/1.2 GB, 0.05 GB/s, 24 s, 0 s left",
        ]


def test_few_bytes_are_told_in_megabytes():
    display, file = display_on(False)
    list(display.track([2_500_000], "weights", 2_500_000, size_of=lambda size: size))
    assert "2.5/2.5 MB, " in file.getvalue()
