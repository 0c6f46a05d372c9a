"""LOOP: its three functions by hand, its runs against the definition of its losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax import average_reward as ar
from sophia_jax.average_reward import regression

RIVER = ar.river_swim(4)
SPAN = ar.solve(RIVER).span
STEPS = 1200


@pytest.fixture(scope="module")
def models():
    return ar.model_class(ar.perturbed_models(0, RIVER, 12, scale=1.0))


def test_a_confidence_set_has_what_is_admissible_and_fits():
    excess = jnp.array([0.0, 2.0, 5.0, 1.0])
    admissible = jnp.array([True, True, True, False])
    members = ar.confidence_set(excess, admissible, 2.0)
    assert members.tolist() == [True, True, False, False]
    gain = jnp.array([0.1, 0.3, 0.9, 0.8])
    assert ar.optimistic_choice(gain, members, excess) == 1
    assert ar.optimistic_choice(gain, jnp.zeros(4, bool), excess) == 0  # the best fit
    assert [bool(ar.switching_is_due(jnp.float32(x), 2.0)) for x in (5.9, 6.0)] == [
        False,
        True,
    ]


def test_the_radius_is_what_its_equation_says():
    beta = ar.confidence_radius(
        100, log_covering=np.log(7), span=2, delta=0.1, scale=0.5
    )
    assert beta == pytest.approx(0.5 * 9 * np.log(100 * 49 / 0.1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_steps": 0}, "num_steps: expected >= 1, got 0"),
        ({"delta": 1.0}, "delta: expected in"),
        ({"span": np.inf}, "span: expected finite"),
        ({"scale": 0}, "scale: expected > 0"),
        ({"log_covering": -1}, "log_covering: expected >= 0"),
    ],
)
def test_a_radius_out_of_range_is_refused(changes, said):
    options = {"num_steps": 10, "log_covering": 1, "span": 1} | changes
    with pytest.raises(ValueError, match=said):
        ar.confidence_radius(options.pop("num_steps"), **options)


def by_definition(agent, class_, loss):
    """A run; of each step, what L_D(f, f) - inf_g L_D(f, g) is of all f, before it.

    `loss` is (f_i, s, a, s', r) -> l_{f_i}(f, g), squared, [f, g].
    """
    trace = ar.run(jax.random.key(3), agent, RIVER, STEPS, keep_path=True)
    count = int(trace.switches) + 1
    begins = trace.switch_step[:count]
    chosen = trace.notes["hypothesis"][:count]
    in_force = chosen[np.searchsorted(begins, np.arange(STEPS), side="right") - 1]
    total, excess = 0.0, []
    for t in range(STEPS - 1):
        s, a, after = trace.states[t], trace.actions[t], trace.states[t + 1]
        total = total + loss(in_force[t], s, a, after, RIVER.reward[s, a])
        excess.append(np.diagonal(total)[: len(class_.gain)] - total.min(1))
    return trace, begins, chosen, np.array(excess)


def check(class_, beta, trace, begins, chosen, excess):
    """That each policy is the most optimistic, and is kept until it fails."""
    assert len(begins) > 2
    for k, (begin, f) in enumerate(zip(begins, chosen, strict=True)):
        if begin == 0 or begin == STEPS:
            continue
        fits = (excess[begin - 1] <= beta) & (class_.span <= SPAN * (1 + 1e-5))
        assert f == np.where(fits, class_.gain, -1).argmax()
        before = excess[begins[k - 1] : begin - 1, chosen[k - 1]]
        assert (before < 3 * beta * 1.001).all()
        assert excess[begin - 1, chosen[k - 1]] >= 3 * beta * 0.999


def test_model_based_runs_follow_the_definition(models):
    beta = 10.0
    agent = ar.loop_models(models, beta=beta, span_bound=SPAN)

    def loss(f, s, a, after, paid):
        predicted = models.reward[:, s, a] + models.transition[:, s, a] @ (
            models.values[f].astype(float)
        )
        one = (predicted - paid - models.values[f, after]) ** 2
        return np.tile(one, (len(one), 1))

    check(models, beta, *by_definition(agent, models, loss))


def test_value_based_runs_follow_the_definition(models):
    beta, values = 10.0, ar.value_class(models)
    agent = ar.loop_values(values, beta=beta, span_bound=SPAN)
    assert (values.auxiliary[:12] == values.action_values).all()

    def loss(f, s, a, after, paid):
        target = paid + values.values[:, after].astype(float) - values.gain
        return (values.auxiliary[None, :, s, a] - target[:, None]) ** 2

    check(values, beta, *by_definition(agent, values, loss))


@pytest.mark.parametrize("kind", ["models", "values", "likelihood"])
def test_the_truth_is_in_the_set_at_the_theoretical_scale(models, kind, key):
    log_covering, scale = np.log(12), 0.5
    if kind == "models":
        beta = ar.confidence_radius(
            3000, log_covering=log_covering, span=SPAN, scale=scale
        )
        agent = ar.loop_models(models, beta=beta, span_bound=SPAN)
    elif kind == "values":
        values = ar.value_class(models)
        log_covering = np.log(len(values.auxiliary))
        beta = ar.confidence_radius(
            3000, log_covering=log_covering, span=SPAN, scale=scale
        )
        agent = ar.loop_values(values, beta=beta, span_bound=SPAN)
    else:
        beta = ar.likelihood_radius(12)
        agent = ar.loop_likelihood(models, beta=beta, span_bound=SPAN)
    trace = ar.run(jax.random.split(key, 20), agent, RIVER, 3000, every=3000)
    noted = trace.switch_step >= 0
    assert trace.notes["covers"][noted].all()
    assert (trace.notes["optimistic_gain"][noted] >= ar.solve(RIVER).gain - 1e-4).all()
    assert not trace.notes["empty"].any()


@pytest.mark.parametrize("make", [ar.loop_models, ar.loop_likelihood])
def test_a_span_that_is_too_small_is_said_when_nothing_is_left(models, make, key):
    small = np.sort(models.span)[2]
    assert small < SPAN
    agent = make(models, beta=3.0, span_bound=float(small))
    with pytest.warns(ar.EmptyConfidenceSet, match="became empty after .* span bound"):
        trace = ar.run(key, agent, RIVER, 3000, every=100)
    assert trace.notes["empty"].any() and not trace.notes["covers"].all()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beta": 0.0}, "beta: expected > 0"),
        ({"trigger": 0.5}, "trigger: expected >= 1"),
        ({"span_bound": 1e-3}, "span_bound: expected at least the smallest span"),
    ],
)
def test_options_out_of_range_are_refused(models, options, said):
    with pytest.raises(ValueError, match=said):
        ar.loop_models(models, **{"beta": 1.0, "span_bound": 9.0} | options)


def test_running_sums_are_the_quadratic_of_the_regression():
    random = np.random.default_rng(0)
    rows, targets = random.normal(size=(40, 3)), random.normal(size=40)
    guess, ridge = random.normal(size=3), 0.5
    root, weights, excess = regression.empty_root(3, ridge), jnp.zeros(3), 0.0
    for row, target in zip(rows.astype(np.float32), targets, strict=True):
        error = jnp.float32(target) - row @ weights
        root, toward, width = regression.absorb(root, row)
        weights = weights + toward * error
        excess += (guess @ row - target) ** 2 - error**2 / width
    precision = ridge * np.eye(3) + rows.T @ rows
    theta = np.linalg.solve(precision, rows.T @ targets)
    np.testing.assert_allclose(weights, theta, rtol=1e-4, atol=1e-5)
    expected = (guess - theta) @ precision @ (guess - theta)
    assert ridge * guess @ guess + excess == pytest.approx(expected, rel=1e-4)
    off = jnp.asarray(guess - theta, jnp.float32)
    assert regression.squared_norm(root, off) == pytest.approx(expected, rel=1e-4)
    assert (np.tril(root, -1) == 0).all()
    inverse = np.linalg.inv(precision)
    np.testing.assert_allclose(root @ root.T, inverse, rtol=1e-3, atol=1e-6)


def test_rows_that_go_on_pointing_one_way_keep_their_digits():
    """Two states whose values are fixed: all rows are the same."""
    random, count = np.random.default_rng(0), 200_000
    row, chance, predicted = jnp.array([-2.1, 2.1]), 0.3, -0.8  # it is -0.84
    targets = np.where(random.random(count) < chance, 2.1, -2.1).astype(np.float32)
    beginning = (regression.empty_root(2, 1.0), jnp.zeros(2), jnp.zeros(2))

    def step(carry, target):
        root, weights, (total, lost) = carry
        error = target - row @ weights
        root, toward, width = regression.absorb(root, row)
        added = (predicted - target) ** 2 - error**2 / width - lost
        new = total + added
        return (
            root,
            weights + toward * error,
            jnp.stack([new, new - total - added]),
        ), 0

    (root, _, (excess, _)), _ = jax.lax.scan(step, beginning, jnp.asarray(targets))
    length = 2 * 2.1**2
    found = targets.sum(dtype=float) / (count + 1 / length)  # <psi, theta>
    expected = (count + 1 / length) * (predicted - found) ** 2
    assert float(excess) == pytest.approx(expected, rel=1e-2)
    width = regression.squared_width(root, row)
    assert float(width) == pytest.approx(1 / count, rel=2e-2)


def test_a_regression_without_a_ridge_is_refused():
    with pytest.raises(ValueError, match="ridge: expected > 0, or Lambda is singular"):
        ar.loop_linear(np.ones((2, 2, 1)), beta=1.0, span_bound=1.0, ridge=0.0)


ONE_HOT = np.eye(8).reshape(4, 2, 8)
MIXTURE = ar.linear_mixture(4)
STRUCTURED = {
    "linear": (ar.loop_linear(ONE_HOT, beta=60.0, span_bound=SPAN), RIVER),
    "tabular": (ar.loop_tabular(4, 2, beta=60.0, span_bound=SPAN), RIVER),
    "likelihood": (ar.loop_likelihood_tabular(beta=15.0, span_bound=SPAN), RIVER),
    "UCRL2": (ar.ucrl2(), RIVER),
    "mixture": (
        ar.loop_mixture(
            MIXTURE.mixture_features, beta=300.0, span_bound=4.0, reward=MIXTURE.reward
        ),
        MIXTURE,
    ),
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_what_covers_the_truth_is_optimistic(name, key):
    agent, mdp = STRUCTURED[name]
    trace = ar.run(jax.random.split(key, 4), agent, mdp, 6000, every=6000)
    covered = trace.notes["covers"] & (trace.switch_step > 0)
    assert covered.sum() > 10
    assert (trace.notes["optimistic_gain"][covered] > ar.solve(mdp).gain - 5e-3).all()
    assert not trace.notes["covers"][trace.switch_step < 0].any()
    if name == "linear":
        assert trace.switches.max() < 30


def test_a_set_of_no_size_does_not_hold_the_truth(key):
    solution = ar.solve(MIXTURE)
    tables = (MIXTURE.transition, MIXTURE.reward, solution.gain, solution.bias)
    truth = ar.Truth(*(jnp.asarray(table, jnp.float32) for table in tables))
    weights = MIXTURE.mixture_weights
    for share in (0.9, 1.1):  # nothing was seen: the error is that of the ridge
        beta = share * float(weights @ weights)
        agent = ar.loop_mixture(
            MIXTURE.mixture_features, beta=beta, span_bound=4.0, reward=MIXTURE.reward
        )
        state = jax.jit(agent.init, static_argnums=1)(key, MIXTURE.spec)
        covered = jax.jit(agent.covers)(state, truth)
        assert bool(covered) == (share > 1)


def test_fopo_plans_at_every_step(key):
    eager = ar.fopo(ONE_HOT, beta=60.0, span_bound=SPAN, tolerance=1e-2)
    seen = ar.Transition(jnp.int32(0), jnp.int32(1), jnp.float32(0), jnp.int32(1))
    observe = jax.jit(eager.observe)
    state = jax.jit(eager.init, static_argnums=1)(key, RIVER.spec)
    for _ in range(3):
        state, due = observe(state, seen)
        assert due


def test_features_of_a_kernel_have_its_inner_products():
    points = np.random.default_rng(0).normal(size=(6, 2))
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(-1) / 2)
    features = ar.kernel_features(kernel, 2, tolerance=1e-12).reshape(6, -1)
    np.testing.assert_allclose(features @ features.T, kernel, atol=1e-9)
    assert ar.kernel_features(np.ones((6, 6)), 2).shape == (3, 2, 1)
    with pytest.raises(ValueError, match="kernel: expected no negative eigenvalue"):
        ar.kernel_features(np.diag([1.0, -1.0]), 2)
    with pytest.raises(ValueError, match="kernel: expected a symmetric"):
        ar.kernel_features(np.array([[1.0, 0.5], [0.0, 1.0]]), 2)
