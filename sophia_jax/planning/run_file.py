"""Run files: a plan as Python, and in its docstring what was reported of it."""

from __future__ import annotations

import ast
import os
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

from sophia_jax.planning.plan import PlanReport
from sophia_jax.planning.run_plan import RunPlan
from sophia_jax.types import InputError

__all__ = ["Header", "read_header", "read_run_file", "replace_text", "with_header"]

GIB = 2**30
ROLE = re.compile(
    r"^ {4}(?P<name>[a-z][a-z ]*[a-z]) +(?P<peak>[\d.]+) of (?P<usable>[\d.]+) GiB"
    r" +(?P<fits>fits|does not fit) +(?P<seconds>[\d.e+-]+) s +(?P<limiter>[a-z ]+)$",
    re.MULTILINE,
)
SLICE = re.compile(r"^Slice: (?P<slice>.+)\.$", re.MULTILINE)
HOURS = re.compile(r"^The round: at least (?P<hours>[\d,.]+) chip-hours", re.MULTILINE)
VERSIONS = re.compile(r"^With (?P<versions>.+)\.$", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    """What a run file's docstring says of its plan.

    Attributes:
      slice: in words.
      roles: by name, GiB of a chip that are needed and usable, and the least seconds of
        a step.
      chip_hours: of the round.
      versions: in words.
    """

    slice: str
    roles: dict[str, tuple[float, float, float]]
    chip_hours: float
    versions: str


def read_run_file(path: Path) -> RunPlan:
    """The `PLAN` of a run file, which is run.

    Raises:
      InputError: there is no such file, or no such constant in it; or it cannot be run.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a run file, got none")
    try:
        plan = runpy.run_path(str(path)).get("PLAN")
    except Exception as error:
        raise InputError(f"{path}: expected a run file ({error})") from error
    if not isinstance(plan, RunPlan):
        kind = type(plan).__name__
        raise InputError(f"{path}: expected PLAN to be a RunPlan, got {kind}")
    return plan


def read_header(path: Path) -> Header:
    """What was reported of a run file's plan.

    Raises:
      InputError: its docstring lacks a part of it.
    """
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    found = {
        "slice": SLICE.search(text),
        "chip-hours": HOURS.search(text),
        "versions": VERSIONS.search(text),
        "roles": ROLE.search(text),
    }
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise InputError(
            f"{path}: expected {', '.join(missing)} in its header, got none"
        )
    return Header(
        slice=found["slice"]["slice"],
        roles={
            each["name"]: tuple(
                float(each[name]) for name in ("peak", "usable", "seconds")
            )
            for each in ROLE.finditer(text)
        },
        chip_hours=float(found["chip-hours"]["hours"].replace(",", "")),
        versions=found["versions"]["versions"],
    )


def with_header(source: str, report: PlanReport, name: str) -> str:
    """A run file's source with what was reported of it.

    The first paragraph of its docstring stays.

    Args:
      source: of the file.
      report: of its plan.
      name: of the file, from the project's folder.
    """
    tree = ast.parse(source)
    words = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    last = tree.body[0].end_lineno
    rest = "".join(source.splitlines(keepends=True)[last:])
    return f'"""{words}\n\n{header_text(report, name)}"""\n{rest}'


def header_text(report: PlanReport, name: str) -> str:
    """Command, slice, what was reported, and the versions that it was reported with."""
    counted = any(role.counted_only for role in report.roles)
    how = "Counted, not compiled" if counted else "Compiled"
    lines = [
        f"    sophia-jax plan --config {name}",
        "",
        f"Slice: {report.plan.target}.",
        f"{how}; of a chip at its fullest, and the least seconds of a step:",
        "",
    ]
    for role in report.roles:
        peak, usable = role.peak_bytes / GIB, role.usable_bytes / GIB
        fits = "fits" if role.fits else "does not fit"
        lines.append(
            f"    {role.name:<16} {peak:6.2f} of {usable:5.2f} GiB  {fits}  "
            f"{role.bound.seconds:.3g} s  {role.bound.limiter}"
        )
    lines += [
        "",
        f"The round: at least {report.chip_hours:,.0f} chip-hours.",
        f"With {', '.join(map(' '.join, report.versions.items()))}.",
        "",
    ]
    return "\n".join(lines)


def replace_text(path: Path, text: str) -> None:
    """Write a file whole, in the place of one that may be there.

    Raises:
      InputError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: expected to write it, got {reason}") from error
    finally:
        partial.unlink(missing_ok=True)
