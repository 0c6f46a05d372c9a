"""Judging answers with math-verify, in processes that may hang, swell or die.

What a model writes can make computer algebra run for ever or take all memory, and
nothing stops that from the inside. So each answer that needs algebra goes to a child
process with a memory limit, and a child that is late is killed.
"""

from __future__ import annotations

import collections
import enum
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import ClassVar, Self

from sophia_jax.rewards.answers import MAX_ANSWER_CHARS, after_thinking, extract_answer
from sophia_jax.rewards.choices import read_option
from sophia_jax.rewards.comparison import same_text
from sophia_jax.rewards.rules import RULES, RuleName
from sophia_jax.rewards.verify_process import Case, VerifyProcess
from sophia_jax.types import InputError

__all__ = ["AnswerVerifier", "Verdict", "VerifierCounts", "verify_answer"]


class Verdict(enum.Enum):
    """Whether an answer is right; true only when it is."""

    RIGHT = "right"
    WRONG = "wrong"
    UNDECIDED = "undecided"

    def __bool__(self) -> bool:
        return self is Verdict.RIGHT


@dataclass(frozen=True)
class VerifierCounts:
    """How answers were judged so far, each distinct one once per call.

    Attributes:
      no_answer: no answer was found in the response: wrong.
      fast_path: decided without algebra.
      math_verify: decided by algebra.
      timed_out: undecided, by an alarm of math-verify or the deadline.
      crashed: undecided, the process died or ran out of memory.
    """

    no_answer: int = 0
    fast_path: int = 0
    math_verify: int = 0
    timed_out: int = 0
    crashed: int = 0


_REPORTS = {
    "right": ("math_verify", Verdict.RIGHT),
    "wrong": ("math_verify", Verdict.WRONG),
    "undecided": ("timed_out", Verdict.UNDECIDED),
    "late": ("timed_out", Verdict.UNDECIDED),
    "memory": ("crashed", Verdict.UNDECIDED),
    "dead": ("crashed", Verdict.UNDECIDED),
}


def verify_answer(prediction: str, answer: str, *, rule: RuleName = "math") -> Verdict:
    """Judge one response. For many, one `AnswerVerifier` saves seconds on each.

    Args:
      prediction: the whole response; its final answer is extracted.
      answer: the right answer alone; of a multiple choice, the letter, or the letter
        and the value: "(B) 12 cm".
      rule: by which they are compared, see `AnswerVerifier`.

    Returns:
      RIGHT, WRONG (also when the response gives no answer), or UNDECIDED when the
      comparison took too long or too much memory.

    Raises:
      InputError: answer is empty or too long.
      ValueError: there is no such rule.
      RuntimeError: math-verify does not start.

    Reference:
      SOPHIA, 2025, https://arxiv.org/abs/2507.16814, the outcome reward of eq. (4).
    """
    with AnswerVerifier(num_workers=1, rule=rule) as verifier:
        return verifier.verify([(prediction, answer)])[0]


def _case(prediction: str, answer: str) -> Case:
    """What is to be compared; a response may also be nothing but the right words."""
    extracted = extract_answer(prediction)
    if extracted is None:
        option = read_option(answer)
        words = (option and option.value) or answer
        extracted = words if same_text(after_thinking(prediction), words) else None
    return extracted, answer


class AnswerVerifier:
    """Judges responses by the hundred; a context manager, for one thread at a time.

    Processes start when the first answer needs one, and are replaced when they die. A
    hanging, swelling or crashing answer costs that answer, never the run.
    """

    _worker_module: ClassVar[str] = "sophia_jax.rewards.verify_worker"

    def __init__(
        self,
        num_workers: int = 2,
        timeout_seconds: float = 6.0,
        memory_bytes: int = 2 << 30,
        rule: RuleName = "math",
    ):
        """Set the limits; nothing is started yet.

        Args:
          num_workers: processes at most, > 0.
          timeout_seconds: wall clock per answer, > 0.
          memory_bytes: address space per process, > 0; math-verify alone needs a
            quarter of a GiB. Enforced on Linux.
          rule: "math" for numbers, units, choices, words and algebra, as described in
            `comparison.compare_fast`; "mathvision" for MATH-Vision's official rule.

        Raises:
          ValueError: one of them is out of range, or there is no such rule.
        """
        if rule not in RULES:
            raise ValueError(f"rule: expected one of {sorted(RULES)}, got {rule!r}")
        for name, limit in (
            ("num_workers", num_workers),
            ("timeout_seconds", timeout_seconds),
            ("memory_bytes", memory_bytes),
        ):
            if not limit > 0:
                raise ValueError(f"{name}: expected > 0, got {limit}")
        self._num_workers = num_workers
        self._timeout_seconds = timeout_seconds
        self._memory_bytes = memory_bytes
        self._rule = rule
        self._workers: list[VerifyProcess] = []
        self._counts: collections.Counter[str] = collections.Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Kill the processes; a later `verify` starts new ones."""
        while self._workers:
            self._workers.pop().kill()

    @property
    def counts(self) -> VerifierCounts:
        """How answers were judged since this verifier was made."""
        return VerifierCounts(**self._counts)

    def verify(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Judge responses; equal ones with equal answers are judged once.

        Args:
          pairs: (prediction, answer): the whole response, and the right answer alone.

        Returns:
          One verdict per pair, in order.

        Raises:
          InputError: an answer is empty or too long.
          RuntimeError: math-verify does not start.
        """
        for index, (_, answer) in enumerate(pairs):
            if not answer.strip() or len(answer) > MAX_ANSWER_CHARS:
                raise InputError(
                    f"answer of pair {index}: expected 1 to {MAX_ANSWER_CHARS} "
                    f"characters, not all blank, got {answer[:20]!r}"
                )
        cases = [_case(prediction, answer) for prediction, answer in pairs]
        verdicts = {case: self._decide_fast(case) for case in dict.fromkeys(cases)}
        hard = [case for case, verdict in verdicts.items() if verdict is None]
        try:
            verdicts.update(self._judge(hard))
        except BaseException:
            self.close()  # or a later call would read this one's reports
            raise
        return [verdicts[case] for case in cases]

    def _decide_fast(self, case: Case) -> Verdict | None:
        prediction, answer = case
        if prediction is None:
            self._counts["no_answer"] += 1
            return Verdict.WRONG
        right = RULES[self._rule](prediction, answer)
        if right is None:
            return None
        self._counts["fast_path"] += 1
        return Verdict.RIGHT if right else Verdict.WRONG

    def _judge(self, cases: list[Case]) -> dict[Case, Verdict]:
        waiting, verdicts = collections.deque(cases), {}
        while len(verdicts) < len(cases):
            self._assign(waiting)
            for worker, report in self._listen():
                if report == "ready":
                    worker.rest()
                    continue
                if worker.case is None:
                    raise RuntimeError(
                        "math-verify does not start (its error is above); "
                        f"does it fit in memory_bytes = {self._memory_bytes}?"
                    )
                count, verdicts[worker.case] = _REPORTS[report]
                self._counts[count] += 1
                worker.rest()
                if report in ("late", "memory", "dead"):
                    self._discard(worker)
        return verdicts

    def _assign(self, waiting: collections.deque[Case]) -> None:
        """Give each free worker a case; start as many more as there is work for."""
        for worker in list(self._workers):
            if worker.resting and worker.process.poll() is not None:
                self._discard(worker)
            elif waiting and worker.resting:
                worker.send(waiting.popleft(), self._timeout_seconds)
        starting = sum(worker.starting for worker in self._workers)
        room = self._num_workers - len(self._workers)
        for _ in range(min(room, len(waiting) - starting)):
            self._workers.append(
                VerifyProcess(self._worker_module, self._memory_bytes, self._rule)
            )

    def _discard(self, worker: VerifyProcess) -> None:
        self._workers.remove(worker)
        worker.kill()

    def _listen(self) -> Iterator[tuple[VerifyProcess, str]]:
        """Reports of the busy workers, waiting for the first report or deadline."""
        busy = [worker for worker in self._workers if not worker.resting]
        seconds = min(worker.deadline for worker in busy) - time.monotonic()
        heard = wait([worker.connection for worker in busy], max(0.0, seconds))
        for worker in busy:
            if worker.connection in heard:
                yield worker, worker.receive()
            elif time.monotonic() >= worker.deadline:
                yield worker, "late"
