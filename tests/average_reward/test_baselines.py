"""Baselines: their inner problems against others' solutions, their epochs by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from sophia_jax import average_reward as ar
from sophia_jax.average_reward.agec import bellman_eluder_dimension
from sophia_jax.average_reward.likelihood_tabular import likeliest_best_row
from sophia_jax.average_reward.ucrl2 import optimistic_mean

BANDIT = ar.AverageRewardMDP(np.ones((1, 2, 1)), [[0.2, 0.9]])
ONE_ARM = ar.AverageRewardMDP(np.ones((1, 1, 1)), [[0.5]])
ONE = np.ones((1, 1, 1))


def test_the_most_optimistic_row_is_that_of_the_linear_program():
    random = np.random.default_rng(0)
    rows, values = random.dirichlet(np.ones(5) / 2, 8), random.normal(size=5)
    widths = random.uniform(0, 2.2, 8)
    found = optimistic_mean(
        jnp.asarray(rows, jnp.float32),
        jnp.asarray(widths, jnp.float32),
        jnp.asarray(values, jnp.float32),
    )
    for row, width, best in zip(rows, widths, found, strict=True):
        # p = row + up - down, sum of both at most the width.
        program = linprog(
            -np.r_[values, -values],
            A_ub=np.r_[
                np.ones((1, 10)),
                np.c_[-np.eye(5), np.eye(5)],
            ],
            b_ub=np.r_[width, row],
            A_eq=[np.r_[np.ones(5), -np.ones(5)]],
            b_eq=[0],
        )
        assert best == pytest.approx(row @ values - program.fun, abs=1e-5)


def test_the_likeliest_best_row_is_on_the_edge_and_best_there():
    random = np.random.default_rng(0)
    rows, values = random.dirichlet(np.ones(4), 6), np.array([0.0, 3, 1, 2])
    best = likeliest_best_row(
        jnp.asarray(rows, jnp.float32),
        jnp.full(6, 0.1),
        jnp.asarray(values, jnp.float32),
    )
    best = np.asarray(best, float)
    np.testing.assert_allclose(best.sum(1), 1, atol=1e-5)
    entropy = (rows * np.log(rows / best)).sum(1)
    np.testing.assert_allclose(entropy, 0.1, atol=1e-4)
    others = random.dirichlet(np.ones(4), 4000)
    for row, one in zip(rows, best, strict=True):
        within = (row * np.log(row / others)).sum(1) <= 0.1
        assert within.sum() > 10
        assert (others[within] @ values <= one @ values + 1e-4).all()


def test_a_best_state_that_was_never_seen_gets_what_is_left():
    # KL of certainty at 0 against (p, 1 - p) is -log p.
    row = likeliest_best_row(
        jnp.array([[1.0, 0.0]]), jnp.array([0.3]), jnp.array([0.0, 1.0])
    )
    assert row[0, 1] == pytest.approx(1 - np.exp(-0.3), abs=1e-5)


def test_epochs_of_ucrl2_double(key):
    trace = ar.run(key, ar.ucrl2(), ONE_ARM, 100)
    assert trace.switch_step[:8].tolist() == [0, 1, 2, 4, 8, 16, 32, 64]
    assert trace.switches == 7


def test_posterior_sampling_learns_in_epochs_of_growing_length(key):
    trace = ar.run(key, ar.psrl(), BANDIT, 4000, every=100)
    assert trace.regret[-1] - trace.regret[20] < 0.05 * 0.7 * 2000
    lengths = np.diff(trace.switch_step[: trace.switches + 1])
    assert (lengths[1:] <= lengths[:-1] + 1).all()
    assert (lengths[1:] == lengths[:-1] + 1).mean() > 0.8  # the others have doubled


def test_posterior_rows_and_rewards_have_their_means(key):
    from sophia_jax.average_reward.counts import Counts
    from sophia_jax.average_reward.sampling import posterior_model

    followed = jnp.array([[[3.0, 1.0]]])
    counts = Counts(followed, jnp.array([[1.0]]), jnp.zeros((1, 1)))
    keys = jax.random.split(key, 20_000)
    rows, rewards = jax.vmap(lambda one: posterior_model(one, counts, prior=2.0))(keys)
    # Dirichlet(4, 2) and Beta(2, 4); deviations of the means are 0.0013.
    assert rows[:, 0, 0, 0].mean() == pytest.approx(4 / 6, abs=0.006)
    assert rows[:, 0, 0, 0].var() == pytest.approx(4 * 2 / (36 * 7), abs=0.002)
    assert rewards[:, 0, 0].mean() == pytest.approx(2 / 6, abs=0.006)
    assert rewards[:, 0, 0].var() == pytest.approx(2 * 4 / (36 * 7), abs=0.002)


def test_information_doubles_for_gamma_lscvi(key):
    agent = ar.gamma_lscvi_ucb(ONE, 100, beta=1.0, span_bound=1.0)
    # Lambda is 1 + n: it has doubled at 2, 4, 8, ...
    trace = ar.run(key, agent, ONE_ARM, 100)
    assert trace.switch_step[:7].tolist() == [0, 1, 3, 7, 15, 31, 63]


def test_a_step_of_q_learning_by_hand(key):
    agent = ar.optimistic_q_learning(
        10, span_bound=1.0, horizon=4.0, bonus_scale=0.001, delta=0.5
    )
    seen = ar.Transition(jnp.int32(0), jnp.int32(1), jnp.float32(0.9), jnp.int32(0))
    state, info = agent.update(agent.init(key, BANDIT.spec), seen)
    # The rate is 1 at the first visit: r + (1 - 1 / 4) 4 + 0.004 sqrt(4 log 40).
    expected = 0.9 + 3 + 0.004 * np.sqrt(4 * np.log(40))
    assert state.values[0, 1] == pytest.approx(expected, rel=1e-5)
    assert state.bounds.tolist() == [[4.0, pytest.approx(expected, rel=1e-5)]]
    state, _ = agent.update(state, seen)
    target = 0.9 + 3 + 0.004 * np.sqrt(2 * np.log(40))
    second = expected / 6 + 5 / 6 * target
    assert state.values[0, 1] == pytest.approx(second, rel=1e-5)
    assert not info["switched"]


PHI = np.eye(2)[None]
LEARNERS = {
    "Q": ar.optimistic_q_learning(4000, span_bound=0.1, horizon=5.0, bonus_scale=0.1),
    "FH": ar.olsvi_fh(PHI, 4000, beta=0.3, span_bound=1.0, horizon=5),
    "EXP2": ar.mdp_exp2(PHI, window=1, windows=10, rate=0.5),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_the_better_arm(name, key):
    trace = ar.run(key, LEARNERS[name], BANDIT, 4000, every=100)
    late = trace.regret[-1] - trace.regret[20]  # over the second half
    assert late < 0.05 * 0.7 * 2000
    if name == "FH":  # episodes of five steps
        assert trace.switch_step.tolist() == list(range(0, 5 * 256, 5))


def test_greedy_explores_as_often_as_it_is_told(key):
    visits = ar.run(key, ar.epsilon_greedy(epsilon=0.2), BANDIT, 20_000).visits[0]
    # Half of what is done at random is the worse arm: 0.1, with deviation 0.0021.
    assert visits[0] / 20_000 == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ar.ucrl2(delta=0.0), "delta: expected in"),
        (lambda: ar.psrl(prior=0.0), "prior: expected > 0"),
        (lambda: ar.epsilon_greedy(epsilon=2.0), "epsilon: expected in"),
        (lambda: ar.optimistic_q_learning(0, span_bound=1.0), "num_steps: expected"),
        (lambda: ar.mdp_exp2(PHI, ridge=0.0), "ridge: expected > 0, or M"),
        (lambda: ar.olsvi_fh(PHI, 9, beta=1, span_bound=0.0), "span_bound: expected"),
    ],
)
def test_options_out_of_range_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_hypotheses_that_err_apart_are_as_many_as_the_dimension():
    assert bellman_eluder_dimension(np.eye(5), epsilon=0.1) == 5
    assert bellman_eluder_dimension(np.ones((5, 7)), epsilon=0.1) == 1
    assert bellman_eluder_dimension(np.eye(5), epsilon=1.1) == 0
    # All errors are c x for a direction x: once c x is known to be small, at the
    # largest x, it is small at all.
    line = np.outer([0.5, 1.0, 2.0], [1.0, 3.0])
    assert bellman_eluder_dimension(line, epsilon=0.4) >= 2  # at 1, then at 3
    with pytest.raises(ValueError, match="epsilon: expected > 0"):
        bellman_eluder_dimension(line, epsilon=0.0)


@pytest.fixture(scope="module")
def measured():
    river = ar.river_swim(4)
    models = ar.model_class(ar.perturbed_models(0, river, 12, scale=1.0))
    agent = ar.loop_models(models, beta=10.0, span_bound=ar.solve(river).span)
    trace = ar.run(jax.random.key(3), agent, river, 1200, keep_path=True)
    return river, models, trace


def test_the_truth_has_no_discrepancy_and_others_their_bellman_error(measured):
    river, models, trace = measured
    table = ar.expected_discrepancies(models, river)
    truth = int(trace.notes["hypothesis"][trace.switches])
    assert np.abs(table[truth]).max() < 1e-6
    values = models.values[3].astype(float)
    error = models.action_values[3] + models.gain[3] - river.reward
    error = error - river.transition @ values
    np.testing.assert_allclose(table[3, 3], error, atol=1e-5)
    by_values = ar.expected_discrepancies(ar.value_class(models), river)
    np.testing.assert_allclose(by_values[3, 5], error, atol=1e-5)


def test_coefficients_make_equalities_of_their_inequalities(measured):
    river, models, trace = measured
    found = ar.measure_exploration(trace, models, river)
    table = ar.expected_discrepancies(models, river)
    begins = trace.switch_step[: trace.switches + 1]
    at = np.searchsorted(begins, np.arange(1200), side="right") - 1
    f = trace.notes["hypothesis"][at]
    own = table[f, f, trace.states, trace.actions]
    in_sample = np.array(
        [
            (table[f[t], f[:t], trace.states[:t], trace.actions[:t]] ** 2).sum()
            for t in range(1200)
        ]
    )
    span, d, kappa = ar.solve(river).span, found.dominance, found.transferability
    assert own.sum() == pytest.approx(np.sqrt(d * in_sample.sum()) + span * d)
    room = kappa * (in_sample.max() * np.log(1200) + span**2)
    assert (own**2).sum() == pytest.approx(room)
    assert d > 0


def test_a_run_without_its_path_cannot_be_measured(measured):
    river, models, trace = measured
    bare = ar.run(jax.random.key(0), ar.uniform_policy(), river, 10)
    with pytest.raises(ar.mdp.InputError, match="trace: expected one with its path"):
        ar.measure_exploration(bare, models, river)
