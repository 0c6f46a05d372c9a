"""Answers judged a second, on one core, beside plain math-verify in the same run.

    taskset -c 0 python scripts/bench_verify.py

Judges responses with simple answers (numbers, letters, amounts, words), and a mix in
which every tenth needs algebra, by `AnswerVerifier` with one worker and by math-verify
alone. All responses differ, so that nothing is judged once for many; starting the
processes is not counted.
"""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import math_verify
import tyro

from sophia_jax.rewards import AnswerVerifier


@dataclass(frozen=True)
class Benchmark:
    """Time the verifier."""

    num_simple: int = 20_000
    """Responses with simple answers."""
    num_mixed: int = 1_000
    """Responses of which every tenth needs algebra."""
    num_plain: int = 300
    """Of each, how many math-verify alone is timed on."""


def simple_pair(n: int) -> tuple[str, str]:
    """A response and an answer of one of six kinds; every third response is wrong."""
    given = n + (n % 3 == 0)
    kinds = (
        (rf"So it is $\boxed{{{given}}}$.", f"{n}"),
        (f"The answer is {given / 8:.3f}.", f"{n / 8:.3f}"),
        (f"Hence {n} sheep.\n\n({'ABC'[n % 3]})", "(B) 12"),
        (rf"\boxed{{{given}\text{{ cm}}}}", f"{n / 100} m"),
        (f"Final answer: {given}/7", f"{n}/7"),
        (f"{n} days on, the answer is {'Monday' if n % 3 else 'Friday'}.", "monday"),
    )
    return kinds[n // 3 % len(kinds)]


def hard_pair(n: int) -> tuple[str, str]:
    """A response and an answer that are equal by algebra."""
    kinds = (
        (rf"\boxed{{\frac{{{n}}}{{{2 * n}}}}}", "0.5"),
        (rf"\boxed{{\sqrt{{{n * n * 3}}}}}", rf"{n}\sqrt{{3}}"),
        (rf"\boxed{{(x + {n})(x - {n})}}", f"x^2 - {n * n}"),
    )
    return kinds[n % len(kinds)]


def plainly(pairs: list[tuple[str, str]]) -> list[bool]:
    """Math-verify's own verdicts."""
    return [
        math_verify.verify(
            math_verify.parse(f"${answer}$"), math_verify.parse(response)
        )
        for response, answer in pairs
    ]


def rate(judge: Callable, pairs: list[tuple[str, str]]) -> float:
    start = time.perf_counter()
    judge(pairs)
    return len(pairs) / (time.perf_counter() - start)


def main() -> None:
    options = tyro.cli(Benchmark)
    simple = [simple_pair(n) for n in range(1, options.num_simple + 1)]
    mixed = [
        simple_pair(n) if n % 10 else hard_pair(n)
        for n in range(1, options.num_mixed + 1)
    ]
    version = importlib.metadata.version("math-verify")
    print(
        f"Python {platform.python_version()}, math-verify {version}; answers a second"
    )
    with AnswerVerifier(num_workers=1) as verifier:
        verifier.verify([(r"\boxed{\frac12}", "0.5")])  # the process has started
        plainly(mixed[:10])
        for name, pairs in (("simple", simple), ("mixed", mixed)):
            ours = rate(verifier.verify, pairs)
            plain = rate(plainly, pairs[: options.num_plain])
            print(f"  {name:6s} {ours:8.0f}, math-verify alone {plain:6.0f}")


if __name__ == "__main__":
    main()
