"""Plans the runs of `tpu_configs/`, and writes into each file what was reported.

    python scripts/plan_configs.py                       # all of them, shown
    python scripts/plan_configs.py --update              # and written into the headers
    python scripts/plan_configs.py --update tpu_configs/internvl3_8b_v6e_8.py

Each file gives a process of its own; a plan of a 38B model takes minutes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "tpu_configs"


def plan_one(path: Path, *, update: bool, once: bool) -> None:
    """Plan one file in this process."""
    from sophia_jax.cli.plan_tables import say_plan
    from sophia_jax.cli.progress import Display
    from sophia_jax.planning.plan import make_plan
    from sophia_jax.planning.run_file import (
        read_run_file,
        replace_text,
        with_header,
    )

    plan, display = read_run_file(path), Display()
    display.say(f"{path.name}: {plan.target}")
    report = make_plan(plan, search=not once, track=display.track)
    say_plan(report, display)
    if update:
        name = path.resolve().relative_to(ROOT).as_posix()
        source = path.read_text("utf-8")
        replace_text(path, with_header(source, report, name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", type=Path, help="all by default")
    parser.add_argument("--update", action="store_true", help="write the headers")
    parser.add_argument("--once", action="store_true", help="look for no largest batch")
    options = parser.parse_args()
    files = options.files or sorted(CONFIGS.glob("*.py"))
    if len(files) == 1:
        plan_one(files[0], update=options.update, once=options.once)
        return 0
    flags = [flag for flag in ("--update", "--once") if getattr(options, flag[2:])]
    failed = [
        path.name
        for path in files
        if subprocess.run([sys.executable, __file__, *flags, str(path)]).returncode
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
