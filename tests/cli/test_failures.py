"""What went wrong is one line and an exit code."""

import errno

import pytest

from sophia_jax.cli.failures import report_failure
from sophia_jax.types import InputError


def raised(error, cause=None):
    """The error as it is caught, with a traceback."""
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_bad_input_is_2_and_one_line():
    line, code = report_failure(InputError("limit: expected >= 1,\n got 0"), None)
    assert (line, code) == ("sophia-jax: error: limit: expected >= 1, got 0", 2)


def test_an_interruption_is_130_and_tells_how_to_go_on():
    line, code = report_failure(KeyboardInterrupt(), None)
    assert code == 130
    assert "--resume" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found_behind_the_errors_of_libraries(number):
    full = OSError(number, "full", "/disk/checkpoint")
    wrapped = raised(RuntimeError("save failed"), raised(ValueError("array"), full))
    line, code = report_failure(wrapped, None)
    assert code == 2
    assert line.startswith("sophia-jax: error: /disk/checkpoint: ")


def test_a_full_disk_without_a_file_names_the_run(tmp_path):
    line, _ = report_failure(OSError(errno.ENOSPC, "full"), tmp_path)
    assert line == f"sophia-jax: error: {tmp_path}: no space left on device"


def test_a_forbidden_file_behind_another_error_is_not_what_went_wrong():
    forbidden = PermissionError(errno.EACCES, "no", "/cache")
    assert report_failure(forbidden, None)[1] == 2
    assert report_failure(raised(RuntimeError("x"), forbidden), None)[1] == 1


def test_a_failure_leaves_its_traceback_in_the_run(tmp_path):
    (tmp_path / "config.json").touch()
    line, code = report_failure(raised(KeyError("a\nb")), tmp_path)
    assert code == 1
    assert line == (
        r"sophia-jax: failed: KeyError: 'a\nb' "
        f"(traceback in {tmp_path / 'error.log'})"
    )
    assert "in raised" in (tmp_path / "error.log").read_text()


def test_a_failure_leaves_nothing_in_a_folder_that_is_no_run(tmp_path):
    line, code = report_failure(raised(RuntimeError("first\nsecond")), tmp_path)
    assert (line, code) == (
        "sophia-jax: failed: RuntimeError: first "
        "(SOPHIA_JAX_TRACEBACK=1 shows the traceback)",
        1,
    )
    assert not list(tmp_path.iterdir())


def test_a_traceback_is_shown_on_demand(monkeypatch, capsys):
    monkeypatch.setenv("SOPHIA_JAX_TRACEBACK", "1")
    line, _ = report_failure(raised(RuntimeError("no")), None)
    assert line.endswith("(traceback above)")
    assert "in raised" in capsys.readouterr().err
