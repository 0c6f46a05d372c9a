"""Value-based LOOP on linear MDPs and with kernels, and its kin of other switches."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from sophia_jax.average_reward.agent import Agent, agent_of
from sophia_jax.average_reward.linear_learner import LinearLearner
from sophia_jax.average_reward.loop import TRIGGER, check_options, switching_is_due
from sophia_jax.average_reward.regression import empty_root
from sophia_jax.types import Array, Float

__all__ = ["fopo", "gamma_lscvi_ucb", "kernel_features", "loop_linear"]


def loop_linear(
    features: Float[Array, "state action dim"],
    *,
    beta: float,
    span_bound: float,
    ridge: float = 1.0,
    trigger: float = TRIGGER,
    tolerance: float = 1e-3,
    name: str = "LOOP (linear)",
) -> Agent:
    """LOOP where Q_f = <phi, w_f>, as in linear MDPs.

        w_hat(f) = Lambda^-1 sum_i phi_i (r_i + V_f(s_{i+1}) - J_f)
        L_D(f, f) - inf_g L_D(f, g) = ||w_f - w_hat(f)||^2_Lambda           [derived]

    which is the set of FOPO. The best (w, J) of it is a hard problem; what is chosen is
    the fixed point of

        Q(s, a) + J = <phi, w_hat(V)> + sqrt(beta) ||phi||_{Lambda^-1},

    clipped to the span: each pair has a w of its own in the set, so no hypothesis of it
    has a larger gain [derived]. Its in-sample error starts at beta, where it may be at
    most, and is then kept with what it predicts at the pairs that are seen.

    The set, of each pair's own hypotheses, never becomes empty; a span bound that is
    too small is told, where it can be, by what is earned: see `contradicted`.

    Args:
      features: phi; the rows' norms should be at most of order 1.
      beta: see `confidence_radius`, with a log N of dim log T.
      span_bound: sp(V*), at which V is clipped.
      ridge: of the regression.
      trigger: of how many beta the policy is given up.
      tolerance: of value iteration, on the gain.
      name: of the agent in tables.

    Raises:
      ValueError: an option out of range.
    """
    check_options(beta=beta, trigger=trigger, span_bound=span_bound)
    empty_root(1, ridge)
    features = np.asarray(features, np.float32)
    options = (beta, float(span_bound), ridge, tolerance)

    def is_due(excess: Array, growth: Array) -> Array:
        return switching_is_due(excess, beta, trigger)

    learner = LinearLearner(features, *options, is_due)
    return agent_of(name, learner, span_bound=span_bound)


def fopo(
    features: Float[Array, "state action dim"],
    *,
    beta: float,
    span_bound: float,
    ridge: float = 1.0,
    tolerance: float = 1e-3,
    name: str = "FOPO",
) -> Agent:
    """FOPO: the set of `loop_linear`, and a new policy at every step.

    It plans as often as it acts, which makes it slow.

    Reference:
      Wei, Jahromi, Luo, Jain, 2021, https://arxiv.org/abs/2007.11849.
    """
    check_options(beta=beta, trigger=TRIGGER, span_bound=span_bound)
    empty_root(1, ridge)
    features = np.asarray(features, np.float32)
    options = (beta, float(span_bound), ridge, tolerance)

    def is_due(excess: Array, growth: Array) -> Array:
        return jnp.bool_(True)

    learner = LinearLearner(features, *options, is_due)
    return agent_of(name, learner, span_bound=span_bound)


def gamma_lscvi_ucb(
    features: Float[Array, "state action dim"],
    num_steps: int,
    *,
    beta: float,
    span_bound: float,
    discount: float | None = None,
    ridge: float = 1.0,
    tolerance: float = 1e-3,
    name: str = "gamma-LSCVI-UCB",
) -> Agent:
    """Optimistic value iteration for a discounted stand-in, of clipped span.

        Q = r + gamma (<phi, w> + min V + sqrt(beta) ||phi||_{Lambda^-1})
        V <- min(max_a Q, min V + 2 sp)

    with w regressed on V(s') - min V. It plans anew when det Lambda has doubled. The
    paper follows a non-stationary policy, of one iteration per step to come; here it is
    the stationary one of the fixed point [deviation]. The reward is regressed as well.

    Args:
      features: phi.
      num_steps: T.
      beta: radius, squared.
      span_bound: sp(V*); V is clipped at twice that.
      discount: gamma; 1 - 1 / sqrt(T) by default.
      ridge, tolerance, name: as in `loop_linear`.

    Raises:
      ValueError: an option out of range.

    Reference:
      Hong et al., 2024, https://arxiv.org/abs/2405.15050, by what others say of it.
    """
    check_options(beta=beta, trigger=TRIGGER, span_bound=span_bound)
    empty_root(1, ridge)
    if num_steps < 1:
        raise ValueError(f"num_steps: expected >= 1, got {num_steps}")
    gamma = 1 - num_steps**-0.5 if discount is None else discount
    if not 0 <= gamma <= 1:
        raise ValueError(f"discount: expected in [0, 1], got {discount}")
    features = np.asarray(features, np.float32)
    options = (beta, 2 * float(span_bound), ridge, tolerance)

    def is_due(excess: Array, growth: Array) -> Array:
        return growth >= jnp.log(2.0) - 1e-5  # what rounding takes from the sum

    return agent_of(name, LinearLearner(features, *options, is_due, gamma))


def kernel_features(
    kernel: Float[Array, "pair pair"], num_actions: int, *, tolerance: float = 1e-6
) -> Float[np.ndarray, "state action dim"]:
    """Features whose inner products are a kernel's values: kernel ridge regression.

        K = U diag(l) U^T,   phi = U sqrt(l)

    On finitely many pairs regression on them is that with the kernel, exactly, so that
    `loop_linear` with them is LOOP for kernel MDPs.

    Args:
      kernel: k of all pairs (s, a), numbered s num_actions + a; symmetric, with no
        negative eigenvalues.
      num_actions: of the MDP.
      tolerance: eigenvalues below this share of the largest are left out.

    Raises:
      ValueError: the kernel is not symmetric, or has a negative eigenvalue.
    """
    kernel = np.asarray(kernel, np.float64)
    if not np.allclose(kernel, kernel.T, rtol=1e-6, atol=1e-9):
        off = np.abs(kernel - kernel.T).max()
        raise ValueError(
            f"kernel: expected a symmetric one, got a difference of {off:.3g}"
        )
    if len(kernel) % num_actions:
        rule = f"a multiple of {num_actions} rows"
        raise ValueError(f"kernel: expected {rule}, got {len(kernel)}")
    values, vectors = np.linalg.eigh(kernel)
    if values[0] < -tolerance * values[-1]:
        rule = "no negative eigenvalue"
        raise ValueError(f"kernel: expected {rule}, got {values[0]:.3g}")
    kept = values > tolerance * values[-1]
    features = vectors[:, kept] * np.sqrt(values[kept])
    return features.reshape(-1, num_actions, features.shape[1])
