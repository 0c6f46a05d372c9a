"""The runner: what it counts, against hand values, replays and single runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax import average_reward as ar
from sophia_jax.types import InputError

ONE_STATE = ar.AverageRewardMDP(np.ones((1, 2, 1)), [[0.0, 0.1]])
RIVER = ar.river_swim()


@pytest.fixture(scope="module")
def models():
    return ar.model_class(ar.perturbed_models(0, RIVER, 12, scale=1.0))


@pytest.fixture(scope="module")
def loop(models):
    return ar.loop_models(models, beta=20.0, span_bound=ar.solve(RIVER).span)


def test_a_constant_loss_is_summed_without_drift(key):
    # float32 adds 0.1 a hundred thousand times to 9998.557.
    trace = ar.run(key, ar.fixed_policy([0]), ONE_STATE, 100_000, every=1000)
    np.testing.assert_allclose(trace.regret, 0.1 * trace.step, rtol=1e-6)


def test_regret_is_the_gain_times_steps_less_what_was_paid(key):
    keys = jax.random.split(key, 3)
    trace = ar.run(keys, ar.uniform_policy(), RIVER, 5000, every=50)
    paid = (trace.visits * RIVER.reward).sum((1, 2))
    expected = 5000 * ar.solve(RIVER).gain - paid
    np.testing.assert_allclose(trace.regret[:, -1], expected, atol=1e-2)
    assert (trace.visits.sum((1, 2)) == 5000).all()


def test_states_are_visited_as_the_stationary_distribution_says(key):
    mdp = ar.linear_mixture(3)
    keys = jax.random.split(key, 50)
    visits = ar.run(keys, ar.optimal_policy(mdp), mdp, 4000, every=4000).visits
    # Correlations fall by 0.75 a step: the share's deviation is 0.0029.
    assert abs(visits[:, 1].sum() / visits.sum() - 0.6) < 0.013


def test_a_state_of_probability_zero_is_never_drawn(key):
    transition = np.roll(np.eye(5), 1, axis=1)[:, None]
    ring = ar.AverageRewardMDP(transition, np.eye(5)[:, :1], start=2)
    trace = ar.run(key, ar.fixed_policy([0] * 5), ring, 1000, keep_path=True)
    assert (trace.states == (2 + np.arange(1000)) % 5).all()


def test_a_run_is_the_same_alone_and_among_others(key, loop):
    keys = jax.random.split(key, 3)
    together = ar.run(keys, loop, RIVER, 2000, every=10)
    alone = ar.run(keys[1], loop, RIVER, 2000, every=10)
    assert (together.regret[1] == alone.regret).all()
    assert (together.switch_step[1] == alone.switch_step).all()
    assert together.switches.tolist() != [0, 0, 0]


def test_a_thinned_curve_is_part_of_the_whole_one(key):
    agent = ar.uniform_policy()
    whole = ar.run(key, agent, RIVER, 105)
    thin = ar.run(key, agent, RIVER, 105, every=10)
    assert thin.step.tolist() == [*range(10, 101, 10), 105]
    assert (thin.regret == whole.regret[thin.step - 1]).all()


def test_the_three_functions_by_hand_do_what_the_run_does(key, loop):
    trace = ar.run(key, loop, RIVER, 1500, keep_path=True)
    follows = np.append(trace.states[1:], 0)
    seen = ar.Transition(
        jnp.asarray(trace.states),
        jnp.asarray(trace.actions),
        jnp.asarray(RIVER.reward[trace.states, trace.actions], jnp.float32),
        jnp.asarray(follows, jnp.int32),
    )

    @jax.jit
    def replay(seen):
        def step(state, one):
            action = loop.act(key, state, one.state)
            state, info = loop.update(state, one)
            return state, (action, info["switched"], info["hypothesis"])

        return jax.lax.scan(step, loop.init(key, RIVER.spec), seen)[1]

    actions, switched, hypotheses = replay(seen)
    assert (np.asarray(actions) == trace.actions).all()
    when = np.flatnonzero(switched[:-1]) + 1
    assert when.tolist() == trace.switch_step[1 : len(when) + 1].tolist()
    noted = trace.notes["hypothesis"][1 : len(when) + 1]
    assert np.asarray(hypotheses)[when - 1].tolist() == noted.tolist()
    assert len(when) > 0


class EveryTenth:
    """An agent of three plain functions that changes its mind at each tenth step."""

    def init(self, key, spec):
        return jnp.int32(0)

    def act(self, key, state, observation):
        return (state // 10) % 2

    def update(self, state, transition):
        return state + 1, {"switched": (state + 1) % 10 == 0}


def test_any_object_with_the_three_functions_is_an_agent(key):
    trace = ar.run(key, EveryTenth(), ONE_STATE, 95, max_noted=4, keep_path=True)
    assert trace.actions.tolist() == [(t // 10) % 2 for t in range(95)]
    assert trace.switches == 9  # all are counted, and the first few noted
    assert trace.switch_step.tolist() == [0, 10, 20, 30]
    assert trace.regret[-1] == pytest.approx(5.0, rel=1e-5)


def test_a_policy_changed_by_the_last_step_is_told(key):
    assert ar.run(key, EveryTenth(), ONE_STATE, 90).switches == 9


@pytest.mark.parametrize("name", ["num_steps", "every", "max_noted"])
def test_a_run_of_no_steps_is_refused(key, name):
    options = {"num_steps": 5, name: 0}
    with pytest.raises(ValueError, match=f"{name}: expected >= 1, got 0"):
        ar.run(key, ar.uniform_policy(), RIVER, **options)


def test_a_multichain_mdp_is_refused(key):
    apart = ar.AverageRewardMDP(np.eye(2)[:, None], np.zeros((2, 1)))
    with pytest.raises(InputError, match="weakly communicating"):
        ar.run(key, ar.uniform_policy(), apart, 5)


def test_an_agent_of_another_size_is_refused(key, loop):
    with pytest.raises(ValueError, match=r"spec: expected \(6, 2\) states and actions"):
        ar.run(key, loop, ONE_STATE, 5)
