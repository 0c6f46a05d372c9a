"""f-divergences between policy and reference, as functions of their log-ratio alone.

    D_f(π || π_ref) = E_ref[f(u)],   u = π / π_ref = e^ℓ,   f convex, f(1) = 0

All that f-DPO needs of f is its derivative, and that by differences: rewards are
β f'(u) up to a constant. f'(u) may be e^1000, and two of them may differ by less than
their last digit; so what a `Divergence` knows is the logarithm of the difference.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from sophia_jax.losses.generator import generator_functions
from sophia_jax.losses.log_space import (
    bounded_exp,
    held_exp,
    in_float32,
    log_expm1,
    log_expm1_ratio,
)
from sophia_jax.types import Array, Float, Scalar, typed

__all__ = [
    "FORWARD_KL",
    "JENSEN_SHANNON",
    "REVERSE_KL",
    "Divergence",
    "Family",
    "alpha_divergence",
    "divergence_from_generator",
]


@dataclass(frozen=True)
class Family:
    """Divergences of one form, in terms of log-ratios ℓ and of what tells them apart.

    Each function is elementwise and takes the divergence's parameters last.

    Attributes:
      name: in words.
      derivative: ℓ -> f'(u).
      log_slope: ℓ -> log(d f'(u) / dℓ) = log(u f''(u)).
      log_difference: (ℓ, k) with ℓ >= k -> log(f'(e^ℓ) - f'(e^k)).
      lowered: (ℓ, c) with c >= 0 -> the k at which f'(e^k) = f'(e^ℓ) - c.
      penalty: ℓ -> (f(u) - f'(1) (u - 1)) / u, never negative.
    """

    name: str
    derivative: Callable[..., Array]
    log_slope: Callable[..., Array]
    log_difference: Callable[..., Array]
    lowered: Callable[..., Array]
    penalty: Callable[..., Array]


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["parameters"],
    meta_fields=["family"],
)
@dataclass(frozen=True)
class Divergence:
    """One f-divergence. A pytree: it may go through `jit`, its parameters as leaves.

    Attributes:
      family: its form.
      parameters: which one of the family it is; scalars.
    """

    family: Family
    parameters: tuple[Array | float, ...] = ()

    @property
    def name(self) -> str:
        return self.family.name

    def derivative(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """f'(u), with the constants of its `Family`; float32 or better."""
        (log_ratio,) = in_float32(log_ratio)
        return self.family.derivative(log_ratio, *self.parameters)

    def scaled_difference(
        self,
        chosen: Float[Array, "*any"],
        rejected: Float[Array, "*any"],
        beta: Scalar,
    ) -> Float[Array, "*any"]:
        """β (f'(u_w) - f'(u_l)): how much more the chosen is rewarded.

        Its gradients are exact as far as a float holds them, and held beyond.

        Args:
          chosen, rejected: log-ratios, in nats.
          beta: β > 0.
        """
        chosen, rejected, beta = in_float32(chosen, rejected, beta)
        return scaled_difference(self.family, self.parameters, chosen, rejected, beta)

    def log_slope(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """log(u f''(u)): of how fast f' grows with the log-ratio."""
        (log_ratio,) = in_float32(log_ratio)
        return self.family.log_slope(log_ratio, *self.parameters)

    def lowered(
        self, log_ratio: Float[Array, "*any"], drop: Float[Array, "*any"]
    ) -> Float[Array, "*any"]:
        """The log-ratio at which f' is less by `drop` >= 0: the inverse of f'."""
        log_ratio, drop = in_float32(log_ratio, drop)
        return self.family.lowered(log_ratio, drop, *self.parameters)

    def penalty(self, log_ratio: Float[Array, "*any"]) -> Float[Array, "*any"]:
        """(f(u) - f'(1) (u - 1)) / u >= 0, whose mean over π's samples is D_f.

        The linear part changes no divergence where π covers all of π_ref; it takes
        away most of the noise, and is what makes each value a divergence of its own.
        For the reverse KL it is ℓ + e^-ℓ - 1.
        """
        (log_ratio,) = in_float32(log_ratio)
        return self.family.penalty(log_ratio, *self.parameters)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def scaled_difference(
    family: Family, parameters: tuple, chosen: Array, rejected: Array, beta: Array
) -> Array:
    """β (f'(u_w) - f'(u_l)), from the logarithm of its size."""
    high, low = jnp.maximum(chosen, rejected), jnp.minimum(chosen, rejected)
    log_size = jnp.log(beta) + family.log_difference(high, low, *parameters)
    return jnp.sign(chosen - rejected) * bounded_exp(log_size)


@scaled_difference.defjvp
def _scaled_difference_jvp(
    family: Family, primals: tuple, tangents: tuple
) -> tuple[Array, Array]:
    parameters, chosen, rejected, beta = primals
    d_parameters, d_chosen, d_rejected, d_beta = tangents
    difference = scaled_difference(family, *primals)
    into_chosen, into_rejected = slopes(family, parameters, chosen, rejected, beta)
    tangent = (
        into_chosen * d_chosen
        + into_rejected * d_rejected
        + difference / beta * d_beta
        + difference
        * with_parameters(family, parameters, chosen, rejected, d_parameters)
    )
    return difference, tangent


def slopes(
    family: Family,
    parameters: tuple,
    chosen: Array,
    rejected: Array,
    beta: Array,
    log_weight: Array | float = 0.0,
) -> tuple[Array, Array]:
    """Weight times the derivatives of the scaled difference by its two log-ratios."""
    log_scale = jnp.log(beta) + log_weight
    return (
        held_exp(log_scale + family.log_slope(chosen, *parameters)),
        -held_exp(log_scale + family.log_slope(rejected, *parameters)),
    )


def with_parameters(
    family: Family, parameters: tuple, chosen: Array, rejected: Array, tangents: tuple
) -> Array:
    """How the logarithm of the difference changes with the parameters."""
    if not parameters:
        return jnp.zeros_like(chosen)
    high, low = jnp.maximum(chosen, rejected), jnp.minimum(chosen, rejected)
    # Of equal ratios the logarithm is -inf, and the difference 0 whatever is changed.
    apart = high > low
    high = jnp.where(apart, high, low + 1)
    change = jax.jvp(
        lambda *given: family.log_difference(high, low, *given), parameters, tangents
    )[1]
    return jnp.where(apart, change, 0)


def _power_derivative(ratio: Array, alpha: Array) -> Array:
    """(1 - u^-α) / α."""
    alpha = jnp.asarray(alpha, ratio.dtype)
    steep = alpha * ratio < -1
    gentle = -jnp.expm1(-jnp.where(steep, 0, alpha * ratio)) / alpha
    size = bounded_exp(-alpha * ratio - jnp.log(alpha))
    return jnp.where(steep, 1 / alpha - size, gentle)


def _power_log_difference(high: Array, low: Array, alpha: Array) -> Array:
    """log((u_low^-α - u_high^-α) / α) = -α low + log Δ + log((1 - e^-αΔ) / αΔ)."""
    apart = high - low
    return -alpha * low + jnp.log(apart) + log_expm1_ratio(alpha * apart)


def _power_lowered(ratio: Array, drop: Array, alpha: Array) -> Array:
    """From u_low^-α = u^-α + α c."""
    return -jnp.logaddexp(-alpha * ratio, jnp.log(alpha * drop)) / alpha


def _js_log_difference(high: Array, low: Array) -> Array:
    """log log(1 + (e^Δ - 1) σ(-high)) = log softplus(log((e^Δ - 1) σ(-high)))."""
    apart = high - low
    beside_one = jnp.log(-jnp.expm1(-apart))
    inside = beside_one + jnp.where(
        high > 0,
        -low - jax.nn.softplus(-high),  # σ(-h) = e^-h σ(h)
        apart - jax.nn.softplus(high),
    )
    small = inside < -20  # then softplus is the exponential itself
    return jnp.where(small, inside, jnp.log(jax.nn.softplus(jnp.maximum(inside, -20))))


def _one_sided(
    ratio: Array, *, down: Callable[[Array], Array], up: Callable[[Array], Array]
) -> Array:
    """up(ℓ) where ℓ >= 0, else e^-ℓ down(-ℓ); both are positive but for rounding."""
    x = jnp.abs(ratio)
    value = jnp.where(ratio < 0, down(x), up(x))
    some = value > 0
    log_value = jnp.log(jnp.where(some, value, 1))
    return jnp.where(some, bounded_exp(log_value + jnp.maximum(-ratio, 0)), 0)


def _power_penalty(ratio: Array, alpha: Array) -> Array:
    def q(x: Array, a: Array) -> Array:
        bend = a * jnp.expm1(-x) - jnp.expm1(-a * x)
        return bend / (a * (1 - a))

    return _one_sided(ratio, down=lambda x: q(x, 1 - alpha), up=lambda x: q(x, alpha))


def _q0(x: Array) -> Array:
    """x + e^-x - 1: q of `_power_penalty` where a -> 0."""
    return x + jnp.expm1(-x)


def _q1(x: Array) -> Array:
    """1 - e^-x (1 + x): q of `_power_penalty` where a -> 1."""
    return -jnp.expm1(-x) - x * jnp.exp(-x)


def _js_penalty(ratio: Array) -> Array:
    """(u ℓ - (1 + u) log((1 + u) / 2)) / u."""

    def middle(x: Array) -> Array:
        return jnp.log1p(jnp.exp(-x)) - jnp.log(2.0)

    return _one_sided(
        ratio,
        down=lambda x: -x * jnp.exp(-x) - (1 + jnp.exp(-x)) * middle(x),
        up=lambda x: x - (1 + jnp.exp(-x)) * (x + middle(x)),
    )


REVERSE_KL = Divergence(
    Family(
        name="reverse KL",
        derivative=lambda ratio: ratio + 1,
        log_slope=jnp.zeros_like,
        log_difference=lambda high, low: jnp.log(high - low),
        lowered=lambda ratio, drop: ratio - drop,
        penalty=lambda ratio: _one_sided(ratio, down=_q1, up=_q0),
    )
)
"""KL(π || π_ref): f(u) = u log u, f'(u) = log u + 1. Makes f-DPO the original DPO."""

FORWARD_KL = Divergence(
    Family(
        name="forward KL",
        derivative=lambda ratio: -bounded_exp(-ratio),
        log_slope=lambda ratio: -ratio,
        log_difference=lambda high, low: -low + jnp.log(-jnp.expm1(low - high)),
        lowered=lambda ratio, drop: -jnp.logaddexp(-ratio, jnp.log(drop)),
        penalty=lambda ratio: _one_sided(ratio, down=_q0, up=_q1),
    )
)
"""KL(π_ref || π): f(u) = -log u, f'(u) = -1/u."""

JENSEN_SHANNON = Divergence(
    Family(
        name="Jensen-Shannon",
        derivative=lambda ratio: jnp.log(2.0) + jax.nn.log_sigmoid(ratio),
        log_slope=lambda ratio: jax.nn.log_sigmoid(-ratio),
        log_difference=_js_log_difference,
        lowered=lambda ratio, drop: -log_expm1(jax.nn.softplus(-ratio) + drop),
        penalty=_js_penalty,
    )
)
"""f(u) = u log u - (u + 1) log((u + 1) / 2), f'(u) = log(2u / (1 + u))."""

_ALPHA = Family(
    name="alpha",
    derivative=_power_derivative,
    log_slope=lambda ratio, alpha: -alpha * ratio,
    log_difference=_power_log_difference,
    lowered=_power_lowered,
    penalty=_power_penalty,
)


@typed
def alpha_divergence(alpha: Scalar) -> Divergence:
    """The α-divergence of the f-DPO paper.

        f(u) = (u^(1-α) - (1 - α) u - α) / (α (α - 1)),   f'(u) = (1 - u^-α) / α

    α -> 0 is the reverse and α -> 1 the forward KL, whose rewards it meets up to a
    constant. TRL counts from the other end: its `f_alpha_divergence_coef` is 1 - α.

    Args:
      alpha: in (0, 1). A traced value outside gives nan.

    Raises:
      ValueError: a concrete alpha is not in (0, 1).

    Reference:
      Wang et al., 2023, "Beyond Reverse KL: Generalizing Direct Preference
      Optimization with Diverse Divergence Constraints",
      https://arxiv.org/abs/2309.16240, table 1.
    """
    if isinstance(alpha, jax.core.Tracer):
        return Divergence(
            _ALPHA, (jnp.where((alpha > 0) & (alpha < 1), alpha, jnp.nan),)
        )
    if not 0 < alpha < 1:
        raise ValueError(
            f"alpha: expected a number in (0, 1), whose ends are REVERSE_KL and "
            f"FORWARD_KL, got {alpha}"
        )
    return Divergence(_ALPHA, (float(alpha),))


def divergence_from_generator(
    f: Callable[[Array], Array], *, name: str = "custom"
) -> Divergence:
    """The divergence of any convex f that rewards can be told from.

        f' by automatic differentiation, at u = e^ℓ for ℓ from -80 to 80

    Beyond, or beyond what float32 holds if that is less, f' goes on as a straight line
    in ℓ, with the slope that it has there. Differences of nearby ratios are integrals
    of the slope, which keeps their digits.

    Args:
      f: of a positive scalar u, made of JAX functions.
      name: for reports.

    Raises:
      ValueError: f' is not strictly increasing, so that several policies are the
        optimum of one reward (total variation); or it stays finite at 0, so that the
        optimum is 0 somewhere and tells nothing of the reward there (chi-squared). Both
        are decided numerically, in float64, down to u = e^-700.

    Reference:
      Wang et al., 2023, https://arxiv.org/abs/2309.16240, theorem 1.
    """
    return Divergence(Family(name=name, **generator_functions(f)))
