"""Which questions are easy, and that each reasoner gets its own and no others."""

import threading

import pytest

from sophia_jax.completions import sample_in_order
from sophia_jax.config import RoutingConfig, SophiaConfig
from sophia_jax.rollouts.captions import write_captions
from sophia_jax.rollouts.reasoning import question_of, write_reasonings
from sophia_jax.rollouts.routing import EASY, HARD, choose_route, routed, write_routes
from sophia_jax.rollouts.store import ROUTES, ShardedTable
from sophia_jax.seeds import group_seed
from sophia_jax.types import Request

CONFIG = SophiaConfig(num_captions=2, num_reasonings=3, seed=5)
ROUTES_OF = {"b": EASY, "a": HARD, "1/c": EASY}


class Verdict:
    def __init__(self, right):
        self.value = "right" if right else "wrong"

    def __bool__(self):
        return self.value == "right"


def verify(pairs):
    return [Verdict(response == answer) for response, answer in pairs]


@pytest.mark.parametrize(
    ("num_right", "route"),
    # Above a half of four are three.
    [(0, HARD), (1, HARD), (2, HARD), (3, EASY), (4, EASY)],
)
def test_an_easy_question_is_solved_more_often_than_the_share(num_right, route):
    assert choose_route(num_right, 4, easy_above=0.5) == route


def test_a_share_is_a_count_and_not_its_rounding_error():
    # 0.1 * 3 is 0.30000000000000004, and 3 of 10 exceed 0.3 no more than 3 exceed 3.
    assert choose_route(3, 10, easy_above=0.1 * 3) == HARD
    assert choose_route(3, 10, easy_above=0.3 - 1e-12) == HARD


@pytest.mark.parametrize("order", range(3))
def test_routes_follow_from_the_policys_own_answers(scripted, items, order, tmp_path):
    right = {"b": 4, "a": 2, "1/c": 3}

    def say(request, sample):
        text = "4" if sample < right[request.group] else "5"
        # What is cut off is no solution, even if it is the answer.
        return (text, "length") if (request.group, sample) == ("a", 0) else text

    policy = scripted(say, order)
    rows = write_routes(policy, verify, items, CONFIG, RoutingConfig(4, 0.5))
    assert [row["question_id"] for row in rows] == ["b", "a", "1/c"]
    assert [row["solve_rate"] for row in rows] == [1.0, 0.25, 0.75]
    assert [row["route"] for row in rows] == [EASY, HARD, EASY]
    assert rows[1]["verdicts"] == ["wrong", "right", "wrong", "wrong"]
    table = ShardedTable(tmp_path / "routes", ROUTES, 1)
    table.write(0, rows)
    assert table.read(0) == rows


def test_the_policy_sees_the_picture_and_the_plain_question(scripted, items):
    policy = scripted(lambda request, sample: "4")
    write_routes(policy, verify, items, CONFIG, RoutingConfig(num_samples=2))
    seed = group_seed(5, 0, "routing", "b")
    assert policy.requests[0] == Request("b", "b?", None, ("b.png",), 2, seed)


def test_each_reasoner_is_asked_its_own_questions(scripted, items):
    captions = write_captions(scripted(lambda r, n: "seen"), items, "Say.", CONFIG)
    reasoners = {
        EASY: scripted(lambda request, sample: "easily 4"),
        HARD: scripted(lambda request, sample: "hardly 4"),
    }
    rows = write_reasonings(
        routed(reasoners, ROUTES_OF), verify, items, captions, "{caption}", CONFIG
    )
    said = {row["question_id"]: row["text"] for row in rows}
    assert said == {"b": "easily 4", "a": "hardly 4", "1/c": "easily 4"}
    assert {question_of(each) for each in reasoners[EASY].requests} == {"b", "1/c"}
    assert {question_of(each) for each in reasoners[HARD].requests} == {"a"}
    assert len(rows) == 3 * 2 * 3


class Run:
    """Completions of a list, and what was done to them."""

    def __init__(self, completions, before):
        self.completions = iter(completions)
        self.before, self.cancelled, self.closed = before, [], False

    def __iter__(self):
        return self

    def __next__(self):
        self.before()
        return next(self.completions)

    def cancel(self, group, after=0):
        self.cancelled.append((group, after))

    def close(self):
        self.closed = True


@pytest.fixture
def two_runs(scripted):
    """A routed reasoner over two runs, which are there once it is asked."""

    def make(**before):
        runs = {}

        def reasoner(route):
            def generate(requests):
                said = scripted(lambda request, sample: route)(list(requests))
                runs[route] = Run(said, before.get(route, lambda: None))
                return runs[route]

            return generate

        return routed({r: reasoner(r) for r in (EASY, HARD)}, ROUTES_OF), runs

    return make


REQUESTS = [Request("0/b", "?", num_samples=2), Request("0/a", "?", num_samples=2)]


def test_a_group_is_stopped_by_its_own_reasoner(two_runs):
    reasoner, runs = two_runs()
    run = reasoner(REQUESTS)
    run.cancel("0/a", 7)
    assert (runs[EASY].cancelled, runs[HARD].cancelled) == ([], [("0/a", 7)])


def test_a_slow_reasoner_holds_nobody_up(two_runs):
    go_on = threading.Event()
    reasoner, _ = two_runs(hard=go_on.wait)
    run = reasoner(REQUESTS)
    assert [next(run).text for _ in range(2)] == [EASY, EASY]
    go_on.set()
    assert [completion.text for completion in run] == [HARD, HARD]


def test_a_reasoner_is_asked_on_only_when_its_last_word_is_dealt_with(two_runs):
    asked = []
    reasoner, _ = two_runs(easy=lambda: asked.append("easy"))
    run = reasoner([REQUESTS[0]])
    next(run)
    assert len(asked) == 1
    next(run)
    assert len(asked) == 2


def test_a_failure_of_one_ends_both(two_runs):
    def fail():
        raise RuntimeError("gone")

    reasoner, runs = two_runs(hard=fail)
    with pytest.raises(RuntimeError, match="gone"):
        sample_in_order(reasoner, REQUESTS)
    assert runs[EASY].closed and runs[HARD].closed
