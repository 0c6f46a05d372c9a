"""Rewards: verifying and judging answers, and propagating outcomes to the captions.

The names below are loaded when first used: the processes that run math-verify live in
this package too, and must start without jax.
"""

import importlib

_MODULES = {
    "AnswerVerifier": "math_verify",
    "JudgeLedger": "judge_ledger",
    "JudgePrompts": "judge_prompts",
    "ModelJudge": "judge",
    "PairJudge": "pair_judge",
    "RULES": "rules",
    "Verdict": "math_verify",
    "VerifierCounts": "math_verify",
    "bradley_terry_scores": "bradley_terry",
    "can_be_kept": "early_stopping",
    "compare_simple": "comparison",
    "extract_answer": "answers",
    "outcome_judge": "process",
    "prefix_judge": "process",
    "process_judge": "process",
    "propagate_rewards": "propagate",
    "qualifying_trajectories": "propagate",
    "reward_bounds": "early_stopping",
    "same_text": "comparison",
    "score_judge": "judge",
    "select_pairs": "pairs",
    "select_trajectory": "propagate",
    "signed_rewards": "signed",
    "stop_points": "early_stopping",
    "verify_answer": "math_verify",
    "yes_judge": "judge",
}

__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__():
    return sorted({*globals(), *_MODULES})
