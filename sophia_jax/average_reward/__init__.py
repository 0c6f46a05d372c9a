"""Average-reward MDPs: what is best in them, and agents that learn it: LOOP and others.

An agent is `init(key, spec)`, `act(key, state, observation)` and
`update(state, transition)`; `run(key, agent, mdp, num_steps)` composes them.
"""

from sophia_jax.average_reward.adapters import from_gymnasium
from sophia_jax.average_reward.agec import (
    Exploration,
    bellman_eluder_dimension,
    expected_discrepancies,
    measure_exploration,
)
from sophia_jax.average_reward.agent import Agent, Transition, Truth
from sophia_jax.average_reward.chains import (
    classify,
    diameter,
    limiting_matrix,
    span,
    stationary_distribution,
)
from sophia_jax.average_reward.environments import (
    access_control,
    gridworld,
    inventory,
    linear_mixture,
    random_ergodic,
    river_swim,
)
from sophia_jax.average_reward.exp2 import mdp_exp2
from sophia_jax.average_reward.hypotheses import (
    ModelClass,
    ValueClass,
    model_class,
    perturbed_models,
    value_class,
)
from sophia_jax.average_reward.likelihood_tabular import (
    loop_likelihood_tabular,
    row_radius,
)
from sophia_jax.average_reward.loop import (
    confidence_radius,
    confidence_set,
    ellipsoid_radius,
    optimistic_choice,
    switching_is_due,
)
from sophia_jax.average_reward.loop_likelihood import (
    likelihood_radius,
    loop_likelihood,
)
from sophia_jax.average_reward.loop_linear import (
    fopo,
    gamma_lscvi_ucb,
    kernel_features,
    loop_linear,
)
from sophia_jax.average_reward.loop_mixture import loop_mixture, loop_tabular
from sophia_jax.average_reward.loop_models import loop_models
from sophia_jax.average_reward.loop_values import loop_values
from sophia_jax.average_reward.mdp import AverageRewardMDP, Spec
from sophia_jax.average_reward.olsvi import olsvi_fh
from sophia_jax.average_reward.policies import (
    fixed_policy,
    optimal_policy,
    uniform_policy,
)
from sophia_jax.average_reward.q_learning import optimistic_q_learning
from sophia_jax.average_reward.run import run
from sophia_jax.average_reward.sampling import epsilon_greedy, psrl
from sophia_jax.average_reward.solvers import (
    Solution,
    linear_programming,
    policy_iteration,
    relative_value_iteration,
    solve,
)
from sophia_jax.average_reward.trace import (
    ContradictedOptimism,
    EmptyConfidenceSet,
    Trace,
    contradicted,
)
from sophia_jax.average_reward.ucrl2 import ucrl2

__all__ = [
    "Agent",
    "AverageRewardMDP",
    "ContradictedOptimism",
    "EmptyConfidenceSet",
    "Exploration",
    "ModelClass",
    "Solution",
    "Spec",
    "Trace",
    "Transition",
    "Truth",
    "ValueClass",
    "access_control",
    "bellman_eluder_dimension",
    "classify",
    "confidence_radius",
    "confidence_set",
    "contradicted",
    "diameter",
    "ellipsoid_radius",
    "epsilon_greedy",
    "expected_discrepancies",
    "fixed_policy",
    "fopo",
    "from_gymnasium",
    "gamma_lscvi_ucb",
    "gridworld",
    "inventory",
    "kernel_features",
    "likelihood_radius",
    "limiting_matrix",
    "linear_mixture",
    "linear_programming",
    "loop_likelihood",
    "loop_likelihood_tabular",
    "loop_linear",
    "loop_mixture",
    "loop_models",
    "loop_tabular",
    "loop_values",
    "mdp_exp2",
    "measure_exploration",
    "model_class",
    "olsvi_fh",
    "optimal_policy",
    "optimistic_choice",
    "optimistic_q_learning",
    "perturbed_models",
    "policy_iteration",
    "psrl",
    "random_ergodic",
    "relative_value_iteration",
    "river_swim",
    "row_radius",
    "run",
    "solve",
    "span",
    "stationary_distribution",
    "switching_is_due",
    "ucrl2",
    "uniform_policy",
    "value_class",
]
