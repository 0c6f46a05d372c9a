"""f-DPO against high-precision arithmetic, hand values, limits and its own optimum."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    alpha_divergence,
    divergence_from_generator,
    f_dpo_loss,
    f_dpo_reward,
    optimal_policy,
)

mpmath.mp.dps = 60


def power(alpha):
    """f', u f'' and f of an alpha divergence, in many digits."""
    a = mpmath.mpf(alpha)
    return (
        lambda u: (1 - u**-a) / a,
        lambda u: u**-a,
        lambda u: (u ** (1 - a) - (1 - a) * u - a) / (a * (a - 1)),
    )


EXACT = {
    "reverse KL": (
        lambda u: mpmath.log(u) + 1,
        lambda u: mpmath.mpf(1),
        lambda u: u * mpmath.log(u),
    ),
    "forward KL": (lambda u: -1 / u, lambda u: 1 / u, lambda u: -mpmath.log(u)),
    "Jensen-Shannon": (
        lambda u: mpmath.log(2 * u / (1 + u)),
        lambda u: 1 / (1 + u),
        lambda u: u * mpmath.log(u) - (u + 1) * mpmath.log((u + 1) / 2),
    ),
    **{f"alpha {alpha}": power(alpha) for alpha in (0.01, 0.3, 0.5, 0.99)},
}
DIVERGENCES = {each.name: each for each in (REVERSE_KL, FORWARD_KL, JENSEN_SHANNON)} | {
    f"alpha {alpha}": alpha_divergence(alpha) for alpha in (0.01, 0.3, 0.5, 0.99)
}
# The same f as functions of u, which is all that is known of one's own.
GENERATORS = {
    "reverse KL": lambda u: u * jnp.log(u),
    "forward KL": lambda u: -jnp.log(u),
    "Jensen-Shannon": lambda u: u * jnp.log(u) - (u + 1) * jnp.log((u + 1) / 2),
    "alpha 0.5": lambda u: 4 * (0.5 * u + 0.5 - jnp.sqrt(u)),
}
OWN = {name: divergence_from_generator(f) for name, f in GENERATORS.items()}
BETAS = (0.01, 0.1, 1.0)

# Both ends of what float32 holds of e^x, where two ratios nearly meet, and far beyond.
PLACES = (-1000, -200, -100, -89.5, -88, -50, -5, -1e-3, 0, 0.5, 10, 60, 89, 300, 1000)


def pairs(reach=1000):
    """Chosen and rejected log-ratios, in float32."""
    rng = np.random.default_rng(0)
    places = [place for place in PLACES if abs(place) <= reach]
    grid = [(one, other) for one in places for other in places]
    near = [(x, x + d) for x in rng.uniform(-reach, reach, 20) for d in (0.01, -0.3, 1)]
    within = rng.uniform(-min(reach, 120), min(reach, 120), (60, 2))
    return np.asarray([*grid, *near, *within], np.float32).T


def exact_loss(name, beta, chosen, rejected):
    """Loss and both gradients of one pair."""
    f_prime, slope, _ = EXACT[name]
    beta = mpmath.mpf(beta)
    u_w, u_l = (mpmath.exp(mpmath.mpf(float(x))) for x in (chosen, rejected))
    difference = beta * (f_prime(u_w) - f_prime(u_l))
    if abs(difference) < 1e5:
        loss = mpmath.log1p(mpmath.exp(-difference))
        weight = 1 / (1 + mpmath.exp(difference))
    else:
        loss, weight = max(-difference, mpmath.mpf(0)), mpmath.mpf(difference < 0)
    return loss, -weight * beta * slope(u_w), weight * beta * slope(u_l)


def loss_and_gradients(chosen, rejected, divergence, beta):
    def total(chosen, rejected):
        losses = f_dpo_loss(chosen, rejected, divergence, beta=beta)
        return losses.sum(), losses

    gradients, losses = jax.grad(total, (0, 1), has_aux=True)(
        jnp.asarray(chosen), jnp.asarray(rejected)
    )
    return np.asarray(losses), *map(np.asarray, gradients)


HELD = 0.997 * float(np.finfo(np.float32).max)  # the rest is the continuation's


def check_against_exact(name, divergence, reach):
    chosen, rejected = pairs(reach)
    for beta in BETAS:
        found = loss_and_gradients(chosen, rejected, divergence, beta)
        assert all(np.isfinite(values).all() for values in found)
        for row in range(len(chosen)):
            place = chosen[row], rejected[row], beta
            exact = exact_loss(name, beta, chosen[row], rejected[row])
            for values, value in zip(found, exact, strict=True):
                if abs(value) < HELD:
                    error = abs(mpmath.mpf(float(values[row])) - value)
                    assert error < max(1e-4 * abs(value), mpmath.mpf("1e-6")), place


@pytest.mark.parametrize("name", DIVERGENCES)
def test_loss_and_gradients_are_those_of_sixty_digits(name):
    check_against_exact(name, DIVERGENCES[name], 1000)


@pytest.mark.parametrize("name", OWN)
def test_one_s_own_f_is_as_exact_within_its_reach(name):
    check_against_exact(name, OWN[name], 79)


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("beta", BETAS)
def test_what_no_float_holds_goes_on_with_the_right_sign(name, beta):
    # A chosen answer that becomes ever less likely, a rejected one that does not.
    chosen = np.arange(-1000, 0, 2, dtype=np.float32)
    losses, into_chosen, into_rejected = loss_and_gradients(
        chosen, np.zeros_like(chosen), DIVERGENCES[name], beta
    )
    assert np.isfinite(losses).all() and (np.diff(losses) < 0).all()
    assert (into_chosen < 0).all() and (into_rejected > 0).all()
    assert np.isfinite(into_chosen).all() and np.isfinite(into_rejected).all()


@pytest.mark.parametrize("name", OWN)
def test_one_s_own_f_goes_on_along_its_slope(name):
    divergence = OWN[name]
    far = np.arange(-1000, -79, 1.0, dtype=np.float32)
    values = np.asarray(divergence.derivative(jnp.asarray(far)), np.float64)
    steps = np.diff(values)
    assert (steps > 0).all()
    slope = EXACT[name][1](mpmath.exp(-80))
    np.testing.assert_allclose(steps[:-1], float(slope), rtol=1e-3)
    losses, into_chosen, _ = loss_and_gradients(
        far, np.zeros_like(far), divergence, 0.1
    )
    assert np.isfinite(losses).all() and (np.diff(losses) < 0).all()
    assert (into_chosen < 0).all() and np.isfinite(into_chosen).all()


def test_the_reverse_kl_is_dpo():
    # -log σ(0.5 (2 - -1)) = log(1 + e^-1.5) = 0.201413.
    chosen, rejected = jnp.array([2.0]), jnp.array([-1.0])
    loss = f_dpo_loss(chosen, rejected, REVERSE_KL, beta=0.5)
    np.testing.assert_allclose(loss, [0.201413], rtol=1e-5)


def test_the_forward_kl_by_hand():
    # u_w = 2, u_l = 1/2: d = -1/2 + 2 = 3/2, at β = 1.
    chosen, rejected = jnp.log(jnp.array([2.0])), jnp.log(jnp.array([0.5]))
    loss = f_dpo_loss(chosen, rejected, FORWARD_KL, beta=1.0)
    np.testing.assert_allclose(loss, [0.201413], rtol=1e-5)


def test_jensen_shannon_by_hand():
    # u_w = 3, u_l = 1/3: log(3/2) - log(1/2) = log 3, so σ = 3/4 at β = 1.
    chosen, rejected = jnp.log(jnp.array([3.0])), jnp.log(jnp.array([1 / 3]))
    loss = f_dpo_loss(chosen, rejected, JENSEN_SHANNON, beta=1.0)
    np.testing.assert_allclose(loss, -np.log([0.75]), rtol=1e-5)


@pytest.mark.parametrize(("alpha", "end"), [(1e-7, REVERSE_KL), (1 - 1e-7, FORWARD_KL)])
def test_alpha_meets_its_ends(alpha, end):
    chosen, rejected = (x[np.abs(x) < 1000] for x in pairs(60))
    near, limit = (
        loss_and_gradients(chosen, rejected, each, 0.1)
        for each in (alpha_divergence(alpha), end)
    )
    for values, expected in zip(near, limit, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


def test_alpha_may_be_traced_and_learnt_from():
    chosen, rejected = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])

    def total(alpha):
        return f_dpo_loss(chosen, rejected, alpha_divergence(alpha), beta=0.5).sum()

    step = 1e-2
    slope = (total(0.4 + step) - total(0.4 - step)) / (2 * step)
    np.testing.assert_allclose(jax.jit(total)(0.4), total(0.4), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(total)(0.4), slope, rtol=1e-2)
    assert jnp.isnan(jax.jit(total)(1.5))


def test_beta_may_be_traced_and_learnt_from():
    chosen, rejected = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])

    def total(beta):
        return f_dpo_loss(chosen, rejected, JENSEN_SHANNON, beta=beta).sum()

    slope = (total(0.51) - total(0.49)) / 0.02
    np.testing.assert_allclose(jax.grad(total)(0.5), slope, rtol=1e-2)
    assert jnp.isnan(jax.jit(total)(-1.0))


def test_second_derivatives_are_those_of_finite_differences():
    rejected = jnp.array([0.2])

    def slope(x):
        chosen = jnp.array([x])
        return jax.grad(
            lambda chosen: f_dpo_loss(chosen, rejected, FORWARD_KL, beta=1.0).sum()
        )(chosen)[0]

    numeric = (slope(0.51) - slope(0.49)) / 0.02
    np.testing.assert_allclose(jax.grad(slope)(0.5), numeric, rtol=1e-2)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_rewards_have_the_constants_of_the_paper(name):
    ratios = np.asarray([-60, -5, -0.5, 0, 0.5, 5, 60], np.float32)
    rewards = f_dpo_reward(jnp.asarray(ratios), DIVERGENCES[name], beta=0.5)
    for ratio, reward in zip(ratios, np.asarray(rewards), strict=True):
        exact = EXACT[name][0](mpmath.exp(mpmath.mpf(float(ratio)))) / 2
        error = abs(mpmath.mpf(float(reward)) - exact)
        assert error < max(2e-5 * abs(exact), mpmath.mpf("1e-6"))


def test_a_reward_that_a_float_holds_is_exact_though_its_derivative_is_not():
    # 0.01 e^92 = 9.017628e37, where e^92 is more than float32 holds.
    reward = f_dpo_reward(jnp.array([-92.0]), FORWARD_KL, beta=0.01)
    np.testing.assert_allclose(reward, [-9.017628e37], rtol=1e-4)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_penalties_average_to_the_divergence(name):
    # Σ π penalty = Σ π_ref f(u) on six outcomes; each is 0 at u = 1, never negative.
    rng = np.random.default_rng(1)
    policy, reference = rng.dirichlet(np.ones(6), 2)
    ratios = np.log(policy / reference)
    f = EXACT[name][2]
    exact = sum(
        mpmath.mpf(q) * f(mpmath.mpf(p) / mpmath.mpf(q))
        for p, q in zip(policy, reference, strict=True)
    )
    penalties = np.asarray(DIVERGENCES[name].penalty(jnp.asarray(ratios, jnp.float32)))
    np.testing.assert_allclose(policy @ penalties, float(exact), rtol=1e-4)
    if name in OWN:
        own = OWN[name].penalty(jnp.asarray(ratios, jnp.float32))
        np.testing.assert_allclose(own, penalties, rtol=1e-3, atol=1e-5)
    far = DIVERGENCES[name].penalty(jnp.asarray(PLACES, jnp.float32))
    assert np.isfinite(far).all() and (np.asarray(far) >= 0).all()
    assert far[PLACES.index(0)] == 0


@pytest.mark.parametrize("name", [*DIVERGENCES, *(f"own {name}" for name in OWN)])
def test_the_tabular_optimum_satisfies_its_condition(name):
    # r - β f'(u) is the same for every outcome.
    own = name.startswith("own ")
    divergence = OWN[name[4:]] if own else DIVERGENCES[name]
    f_prime = EXACT[name.removeprefix("own ")][0]
    rng = np.random.default_rng(2)
    reference, rewards = rng.dirichlet(np.ones(6)), rng.normal(size=6)
    policy = np.asarray(
        optimal_policy(
            jnp.asarray(reference, jnp.float32),
            jnp.asarray(rewards, jnp.float32),
            divergence,
            beta=0.3,
        ),
        np.float64,
    )
    np.testing.assert_allclose(policy.sum(), 1, rtol=1e-6)
    assert (policy > 0).all()
    constants = [
        r - 0.3 * float(f_prime(mpmath.mpf(p) / mpmath.mpf(q)))
        for r, p, q in zip(rewards, policy, reference, strict=True)
    ]
    np.testing.assert_allclose(constants, constants[0], atol=2e-4)


def test_the_reverse_kl_optimum_is_the_gibbs_distribution():
    reference, rewards = jnp.array([0.2, 0.3, 0.5, 0.0]), jnp.array([1.0, -1.0, 0, 9])
    tilted = np.asarray(reference) * np.exp(np.asarray(rewards) / 0.5)
    np.testing.assert_allclose(
        optimal_policy(reference, rewards, REVERSE_KL, beta=0.5),
        tilted / tilted.sum(),
        rtol=1e-5,
    )


def test_a_large_beta_leaves_the_reference_and_a_small_one_the_best():
    reference, rewards = jnp.array([0.2, 0.3, 0.5]), jnp.array([1.0, -1.0, 0.0])
    for divergence in (*DIVERGENCES.values(), OWN["forward KL"]):
        kept = optimal_policy(reference, rewards, divergence, beta=1e4)
        np.testing.assert_allclose(kept, reference, rtol=1e-3)
        best = optimal_policy(reference, rewards, divergence, beta=1e-3)
        assert best[0] > 0.97


@pytest.mark.parametrize("name", [*DIVERGENCES, "own forward KL"])
def test_preferences_of_known_rewards_are_learnt_to_their_optimum(name):
    # All pairs of four answers, each preferred as often as Bradley and Terry say.
    divergence = OWN[name[4:]] if name.startswith("own ") else DIVERGENCES[name]
    reference = jnp.array([0.4, 0.3, 0.2, 0.1])
    rewards = jnp.array([0.5, -0.5, 0.3, -0.2])
    beta = 0.5
    chosen, rejected = np.nonzero(~np.eye(4, dtype=bool))
    share = jax.nn.sigmoid(rewards[chosen] - rewards[rejected])

    def loss(logits):
        ratio = jax.nn.log_softmax(logits) - jnp.log(reference)
        losses = f_dpo_loss(ratio[chosen], ratio[rejected], divergence, beta=beta)
        return jnp.sum(share * losses)

    def step(logits, _):
        return logits - 0.5 * jax.grad(loss)(logits), None

    start = jnp.log(reference)
    logits, _ = jax.jit(lambda x: jax.lax.scan(step, x, None, length=3000))(start)
    np.testing.assert_allclose(
        jax.nn.softmax(logits),
        optimal_policy(reference, rewards, divergence, beta=beta),
        atol=2e-3,
    )


@pytest.mark.parametrize(
    ("f", "said"),
    [
        (lambda u: jnp.abs(u - 1) / 2, "strictly increases"),
        (lambda u: (u - 1) ** 2, r"-inf at 0.*f'\(e\^-700\) = -2"),
        (lambda u: -(u**2), "strictly increases"),
        (lambda u: u**1.5, "-inf at 0"),
        (lambda u: jnp.nan * u, "got nan"),
    ],
)
def test_what_tells_no_reward_is_refused_with_the_reason(f, said):
    with pytest.raises(ValueError, match=said):
        divergence_from_generator(f)


def test_a_steep_f_is_followed_as_far_as_float32_goes():
    # f = u^-3: f' = -3 u^-4 is more than float32 holds from u = e^-22 down.
    divergence = divergence_from_generator(lambda u: u**-3)
    ratios = jnp.arange(-1000.0, 60, 1)
    values = np.asarray(divergence.derivative(ratios))
    assert np.isfinite(values).all() and (np.diff(values[ratios < 10]) > 0).all()
    np.testing.assert_allclose(values[1000 - 15], -3 * np.exp(60.0), rtol=1e-4)


def test_numbers_out_of_range_are_refused():
    pair = jnp.zeros(1), jnp.zeros(1)
    for alpha in (0, 1, -0.5, float("nan")):
        with pytest.raises(ValueError, match=r"alpha: expected a number in \(0, 1\)"):
            alpha_divergence(alpha)
    for beta in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="beta: expected > 0"):
            f_dpo_loss(*pair, REVERSE_KL, beta=beta)
        with pytest.raises(ValueError, match="beta: expected > 0"):
            f_dpo_reward(pair[0], REVERSE_KL, beta=beta)
    with pytest.raises(ValueError, match="sum to 1"):
        optimal_policy(jnp.array([0.5, 0.6]), jnp.zeros(2), REVERSE_KL, beta=1.0)
    with pytest.raises(ValueError, match="rewards: expected finite"):
        optimal_policy(
            jnp.array([0.5, 0.5]), jnp.array([0, jnp.inf]), REVERSE_KL, beta=1.0
        )


def test_shapes_and_dtypes_are_checked():
    with pytest.raises(TypeError):
        f_dpo_loss(jnp.zeros(2), jnp.zeros(3), REVERSE_KL)
    with pytest.raises(TypeError):
        f_dpo_loss(jnp.zeros(2, int), jnp.zeros(2, int), REVERSE_KL)


def test_half_precision_is_computed_in_float32():
    chosen, rejected = jnp.array([300.0], jnp.bfloat16), jnp.array([-2.0], jnp.bfloat16)
    loss = f_dpo_loss(chosen, rejected, FORWARD_KL, beta=0.1)
    assert loss.dtype == jnp.float32
    exact = exact_loss("forward KL", 0.1, 300.0, -2.0)[0]
    np.testing.assert_allclose(loss, [float(exact)], rtol=1e-5)
