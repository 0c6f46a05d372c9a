"""The verifier: verdicts, and what hanging, swelling and dying answers cost."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from sophia_jax.rewards import AnswerVerifier, Verdict, VerifierCounts, verify_answer
from sophia_jax.types import InputError

RIGHT, WRONG, UNDECIDED = Verdict.RIGHT, Verdict.WRONG, Verdict.UNDECIDED


def boxed(answer):
    return rf"So it is $\boxed{{{answer}}}$."


class StubbornVerifier(AnswerVerifier):
    """Its workers misbehave on demand."""

    _worker_module = "stubborn_worker"


@pytest.fixture(autouse=True)
def stubborn_workers_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(pathlib.Path(__file__).parent))


@pytest.fixture(scope="module")
def verifier():
    with AnswerVerifier() as verifier:
        yield verifier


# --- verdicts ---


def test_only_a_right_verdict_is_true():
    assert RIGHT
    assert not WRONG
    assert not UNDECIDED
    assert [verdict.value for verdict in Verdict] == ["right", "wrong", "undecided"]


@pytest.mark.parametrize(
    ("prediction", "answer", "verdict"),
    [
        (r"\frac{\sqrt{8}}{2}", r"\sqrt{2}", RIGHT),
        (r"\frac{2}{4}", "0.5", RIGHT),
        ("0.333333", "1/3", RIGHT),
        (r"\{3, 5\}", r"\{5, 3\}", RIGHT),
        ("x = 5", "5", RIGHT),
        (r"12 \text{ cm}", "12", RIGHT),
        ("12 apples", "12", RIGHT),
        ("about 12 apples.", "12", RIGHT),
        ("$12 per week", "12", RIGHT),
        ("x + 5", "5", WRONG),
        ("2 pi", "2", WRONG),
        ("12 and 13", "12", WRONG),
        (r"2\sqrt{3}", r"3\sqrt{2}", WRONG),
        ("{5", "5", WRONG),
        ("1.5e3", "1500", RIGHT),
        ("3c", "3", WRONG),  # math-verify alone takes the c for a unit
        ("P and R", "R and P", RIGHT),
        ("1:2", "2:4", RIGHT),
        ("3:5", "2:3", WRONG),
        ("a = d", "$a=d$", RIGHT),
        ("x = 2 or x = 3", "3, 2", RIGHT),
        (r"1 + \frac{1}{\mathrm{e}}", r"1 - \frac{1}{\mathrm{e}}", WRONG),
        ("[1, 3)", "[1,3)", RIGHT),
        ("[1, 3]", "(1,3)", WRONG),
        (r"(-\infty, 3]", r"x \le 3", RIGHT),
        ("(1, 2)", "(2,1)", WRONG),
        ("2 and 1", "1 and 2", RIGHT),
        ("5 and 9", "5 and 8", WRONG),
        (
            r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}",
            r"\begin{bmatrix}1 & 2\\ \frac{6}{2} & 4\end{bmatrix}",
            RIGHT,
        ),
        (
            r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}",
            r"\begin{bmatrix}1 & 3\\2 & 4\end{bmatrix}",
            WRONG,
        ),
        (r"\frac{1}{2}", r"(C) $\frac{2}{4}$", RIGHT),
        ("n^2 - n", "(A) $n(n-1)$", RIGHT),
        ("n^2 + n", "(A) $n(n-1)$", WRONG),
        (r"2\sqrt{3}\text{ m}", r"200\sqrt3\text{ cm}", RIGHT),
        (r"2\sqrt{3}\text{ m}", r"2\sqrt3\text{ cm}", WRONG),
        (r"2\sqrt{3}", r"2\sqrt3\text{ cm}", RIGHT),
        (r"\frac{\pi}{6}", "30°", RIGHT),
        (r"30^\circ", r"\frac{\pi}{6}", RIGHT),
        (r"\frac{\pi}{3}", "30°", WRONG),
        (r"\frac{1}{3}", "33.33%", RIGHT),
        (r"33\frac{1}{3}\%", "1/3", RIGHT),
        (r"\frac{1}{4}", "50%", WRONG),
        (r"\frac{1}{3}", "0.333", RIGHT),
        ("x = \\sqrt{2}", "1.414", RIGHT),
        (r"\sqrt{3}", "1.414", WRONG),
        ("1.414", r"\sqrt{2}", WRONG),
        (r"\sin 30^\circ", "1/2", RIGHT),
        (r"2\cos\left(60^{\circ}\right) + 1", "2", RIGHT),
        ("1", r"\tan 45°", RIGHT),
        (r"\sin 60^\circ", "1/2", WRONG),
        (r"\sin 30", "1/2", WRONG),
        (r"\varnothing", r"\emptyset", RIGHT),
        (r"\varnothing", "0", WRONG),
        (r"5\,\mathrm{k}\Omega", "5000 Ω", RIGHT),
        (r"5\Omega", "6 ohms", WRONG),
        ("x > 3", r"(3,\infty)", RIGHT),
        (r"3 \le x < 5", "[3,5)", RIGHT),
        ("x > 3", r"[3,\infty)", WRONG),
        ("x > 3", r"(4,\infty)", WRONG),
    ],
)
def test_algebra_decides(verifier, prediction, answer, verdict):
    assert verifier.verify([(f"Answer: {prediction}", answer)]) == [verdict]


@pytest.mark.parametrize(
    "prediction",
    [
        r"7\text{ cm or }8\text{ cm}",
        r"7 \text{ cm}, 8 \text{ cm}",
        r"8\text{ cm and }7\text{ cm}",
        r"7\text{ apples or }8\text{ apples}",
        r"7\text{ or more}",
        "not 7",
        "not 7 cm",
        "less than 7",
        "at most 7 cm",
    ],
)
def test_a_hedged_or_negated_number_is_not_right(verifier, prediction):
    pairs = [(boxed(prediction), answer) for answer in ("7", "7 cm", "7 apples")]
    pairs += [(f"The answer is {prediction}", answer) for _, answer in pairs]
    assert RIGHT not in verifier.verify(pairs)


def test_a_bound_is_no_other_bound(verifier):
    assert verifier.verify([(boxed("at least 7"), "at most 7 apples")]) == [WRONG]


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("12 more apples", "12"),
        (r"{1 \over 2}", "0.5"),
        (r"2\text{ hours and }30\text{ minutes}", "150 minutes"),
        (r"7\text{ cm and }8\text{ cm}", r"7\text{ cm}, 8\text{ cm}"),
        ("x = 2 or x = 3", r"\{2, 3\}"),
        ("2x or 3", "3, 2x"),
        ("x or 3", "3, x"),
        ("at least 7 apples", "at least 7"),
    ],
)
def test_words_that_are_no_hedge_leave_a_number_right(verifier, prediction, answer):
    assert verifier.verify([(boxed(prediction), answer)]) == [RIGHT]


def test_verdicts_come_in_the_order_of_the_pairs(verifier):
    halves = [(boxed(rf"\frac{{{n}}}{{{2 * n}}}"), r"\frac12") for n in range(1, 9)]
    thirds = [(boxed(rf"\frac{{{n}}}{{{3 * n}}}"), r"\frac12") for n in range(1, 9)]
    mixed = [pair for both in zip(halves, thirds, strict=True) for pair in both]
    assert verifier.verify(mixed) == [RIGHT, WRONG] * 8


def test_no_pairs_give_no_verdicts(verifier):
    assert verifier.verify([]) == []


def test_answers_that_only_look_like_code_are_not_run(verifier, tmp_path):
    trap = tmp_path / "trap"
    code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    texts = [code, f"${code}$", rf"\text{{{code}}}", rf"\operatorname{{{code}}}"]
    pairs = [(f"Answer: {text}", "x + 1") for text in texts]
    pairs += [(boxed("x + 1"), text) for text in texts]
    assert not any(verifier.verify(pairs))
    assert not trap.exists()


def test_one_answer_can_be_verified_alone():
    assert verify_answer(boxed(r"\frac{2}{4}"), r"\frac12") is RIGHT


# --- without algebra ---


def test_simple_answers_start_no_process():
    pairs = [
        (boxed("4"), "4"),
        (boxed("5"), "4"),
        ("The answer is (B).", "B"),
        ("It is option (K).", "(K) 12 cm"),
        ("12 cm", "(K) 12 cm"),
        ("L. 12 cm", "(K) 12 cm"),
        (boxed("Yes"), "yes"),
        (boxed(r"9^{9^{9^{9}}}"), r"9^{9^{9^{9}}}"),
        ("surplus", "Surplus"),
        ("<think>a surplus?</think>\nSurplus.", "surplus"),
        ("<think>surplus", "surplus"),
        ("I do not know", "5"),
        (r"<think> so \boxed{4}", "4"),
    ]
    with AnswerVerifier() as verifier:
        verdicts = verifier.verify(pairs)
        assert verifier._workers == []
        assert verifier.counts == VerifierCounts(fast_path=10, no_answer=3)
    chosen = [RIGHT, RIGHT, RIGHT, WRONG]
    assert verdicts == [RIGHT, WRONG, *chosen, *[RIGHT] * 4, *[WRONG] * 3]


def test_equal_pairs_are_judged_once_a_call():
    with AnswerVerifier(num_workers=1) as verifier:
        pairs = [(boxed(r"\frac12"), "0.5"), (boxed("4"), "4")] * 3
        pairs.append((r"Again: \boxed{\frac12}", "0.5"))
        assert verifier.verify(pairs) == [RIGHT] * 7
        assert verifier.counts == VerifierCounts(fast_path=1, math_verify=1)
        verifier.verify(pairs)
        assert verifier.counts == VerifierCounts(fast_path=2, math_verify=2)


# --- misbehaviour ---


def test_an_alarm_inside_math_verify_is_undecided_not_wrong(verifier):
    before = verifier.counts
    hard_to_parse = "(" * 1000 + "1" + ")" * 1000
    hard = [
        (boxed("9^{9^{9^{9}}}"), "5x"),
        (boxed("5x"), "(10^9)!"),
        (boxed(hard_to_parse), "5x"),
    ]
    assert verifier.verify(hard) == [UNDECIDED] * 3
    assert verifier.counts.timed_out == before.timed_out + 3


def hostile_answers(trap):
    code = f"__import__('os').system('touch {trap}')"
    return [
        "9^9^9^9",
        "9**9**9**9",
        "(10^9)!",
        r"\sum_{n=1}^{10^{12}} \sin(n)",
        r"\begin{pmatrix}" + r"\\".join("&".join("1" * 44) for _ in range(44)),
        r"\det\begin{pmatrix}"
        + r"\\".join("&".join(f"x_{r}" for r in range(20)) for _ in range(20))
        + r"\end{pmatrix}",
        r"\sqrt{" * 400 + "2" + "}" * 400,
        "{" * 4000,
        r"\frac" * 800,
        "\x00\x1b[2J\r\x07\ud800\u202e5",
        "1" * 1_000_000,
        "x" * 1_000_000,
        code,
        f"1 + {code}",
        f"(9^{{{code}}})",
        "().__class__.__bases__[0].__subclasses__()",
        "12 cm" + " cm" * 1000,
        "1:" * 2000,
        "(" + "1," * 2000 + "1)",
    ]


@pytest.mark.parametrize("rule", ["math", "mathvision"])
def test_hostile_answers_are_not_right_and_leave_the_pool_healthy(rule, tmp_path):
    trap = tmp_path / "trap"
    hostile = hostile_answers(trap)
    pairs = [(boxed(text), r"(B) $(x + 7)^2$") for text in hostile]
    pairs += [(f"The answer is {text}", "(x + 7)^2") for text in hostile[-8:]]
    pairs += [(boxed(r"\frac{7}{3}"), text) for text in hostile if len(text) < 200]
    with AnswerVerifier(timeout_seconds=3.0, rule=rule) as verifier:
        start = time.monotonic()
        verdicts = verifier.verify(pairs)
        assert time.monotonic() - start < 3.0 * len(pairs)
        assert RIGHT not in verdicts
        assert not trap.exists()
        assert verifier.verify([(boxed(r"\frac{14}{6}"), r"\frac73")]) == [RIGHT]


def test_a_worker_that_ignores_alarms_is_killed_at_the_deadline():
    pairs = [(boxed(text), "0.5") for text in ("hang", r"\frac{2}{4}")]
    with StubbornVerifier(num_workers=1, timeout_seconds=2.0) as verifier:
        verifier.verify([(boxed(r"\frac12"), "0.5")])  # it has started
        stuck = verifier._workers[0].process
        assert verifier.verify(pairs) == [UNDECIDED, RIGHT]
        assert stuck.returncode == -9
        assert verifier.counts == VerifierCounts(math_verify=2, timed_out=1)


@pytest.mark.parametrize("death", ["exit", "kill", "raise", "allocate", "swallow"])
def test_a_dying_or_swelling_answer_costs_that_answer_only(death, capfd):
    texts = [r"\frac12", death, r"\frac{2}{4}", r"\frac13"]
    pairs = [(boxed(text), "0.5") for text in texts]
    with StubbornVerifier(num_workers=1, memory_bytes=1 << 30) as verifier:
        assert verifier.verify(pairs) == [RIGHT, UNDECIDED, RIGHT, WRONG]
        assert verifier.counts == VerifierCounts(math_verify=3, crashed=1)
    assert ("nobody expects" in capfd.readouterr().err) == (death == "raise")


def test_a_hanging_answer_does_not_hold_up_the_other_worker():
    easy = [(boxed(rf"\frac{{{n}}}{{{2 * n}}}"), "0.5") for n in range(1, 11)]
    with StubbornVerifier(num_workers=2, timeout_seconds=3.0) as verifier:
        verdicts = verifier.verify([(boxed("hang"), "0.5"), *easy])
    assert verdicts == [UNDECIDED, *[RIGHT] * 10]


def test_a_worker_that_died_between_calls_is_replaced():
    with AnswerVerifier(num_workers=1) as verifier:
        for _ in range(2):
            assert verifier.verify([(boxed(r"\frac12"), "0.5")]) == [RIGHT]
            process = verifier._workers[0].process
            process.kill()
            process.wait()
        assert verifier.counts == VerifierCounts(math_verify=2)


def test_an_interrupted_call_leaves_nothing_for_the_next(monkeypatch):
    with AnswerVerifier(num_workers=1) as verifier:

        def interrupt(*arguments):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(verifier, "_listen", interrupt)
            with pytest.raises(KeyboardInterrupt):
                verifier.verify([(boxed(r"\frac12"), "0.5")])
        assert verifier._workers == []
        assert verifier.verify([(boxed(r"\frac13"), "0.5")]) == [WRONG]


def test_closing_kills_the_workers():
    with AnswerVerifier(num_workers=1) as verifier:
        verifier.verify([(boxed(r"\frac12"), "0.5")])
        process = verifier._workers[0].process
        assert process.poll() is None
    assert process.returncode == -9


def test_workers_end_with_a_parent_that_had_no_time_to_close():
    script = (
        "import os\n"
        "from sophia_jax.rewards import AnswerVerifier\n"
        "verifier = AnswerVerifier(num_workers=1)\n"
        "print(verifier.verify([(r'\\boxed{\\frac12}', '0.5')])[0].value, flush=True)\n"
        "os._exit(0)\n"
    )
    # The worker holds the other end of stderr: `run` returns when both have ended.
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "right\n"


def test_workers_do_not_load_jax_nor_run_the_main_script_again(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from sophia_jax.rewards import math_verify\n"
        "print('started')\n"
        "verifier = math_verify.AnswerVerifier(num_workers=1)\n"
        "verifier._worker_module = 'stubborn_worker'\n"
        "print(verifier.verify([(r'\\boxed{loaded}', 'x')])[0].value)\n"
        "verifier.close()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)},
    )
    assert done.stdout.split() == ["started", "wrong"]


def test_importing_rewards_loads_no_algebra_and_no_jax():
    script = (
        "import sys, sophia_jax.rewards\n"
        "loaded = {'jax', 'sympy', 'math_verify'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "from sophia_jax.rewards import verify_answer, extract_answer\n"
        "loaded = {'sympy', 'math_verify'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


# --- refusals ---


@pytest.mark.parametrize("answer", ["", " \n", "1" * 4097])
def test_an_empty_or_endless_right_answer_is_refused(answer):
    with pytest.raises(InputError, match="answer of pair 1: expected 1 to 4096"):
        AnswerVerifier().verify([(boxed("4"), "4"), (boxed("4"), answer)])


@pytest.mark.parametrize("name", ["num_workers", "timeout_seconds", "memory_bytes"])
def test_limits_that_allow_nothing_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}: expected > 0, got 0"):
        AnswerVerifier(**{name: 0})


def test_a_worker_that_cannot_start_is_an_error(capfd):
    with (
        AnswerVerifier(num_workers=1, memory_bytes=1 << 25) as verifier,
        pytest.raises(RuntimeError, match=r"does it fit in memory_bytes = 33554432"),
    ):
        verifier.verify([(boxed(r"\frac12"), "0.5")])
    assert verifier._workers == []
    assert "memory_bytes: expected > " in capfd.readouterr().err


def test_an_unknown_name_is_an_attribute_error():
    import sophia_jax.rewards

    with pytest.raises(AttributeError, match="no attribute 'verify_everything'"):
        _ = sophia_jax.rewards.verify_everything
