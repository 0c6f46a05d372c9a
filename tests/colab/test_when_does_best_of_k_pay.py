"""When best-of-k pays, with few draws."""

import math

SMALL = {
    "num_trials": 4000,
    "num_draws": 40,
    "num_questions": 120,
    "num_resamples": 20,
}


def test_theory_is_met_and_what_is_best_is_foretold(execute, figures):
    found, notebook = execute(
        "when_does_best_of_k_pay",
        SMALL,
        one="share_of_one",
        inside="share_inside",
        apart="float(np.median(apart))",
        best_k="best_k.tolist()",
        best_t="best_t.tolist()",
        curve="found['curves'][0]",
        best="found['best_num_samples'][0]",
    )
    assert found["one"] >= 0.8  # of 21 points
    assert found["inside"] >= 0.8
    assert found["apart"] < 0.1
    # A judge who knows is never asked too often; one that misleads is, and the more
    # it does, the warmer the choice.
    assert math.isinf(found["best_k"][0])
    assert found["best_k"][-1] < 10
    assert found["best_t"][0] == 0 < found["best_t"][-2] < found["best_t"][-1]
    assert found["best"]["predicted"] < 32
    assert found["curve"]["predicted"][-1] < max(found["curve"]["predicted"]) - 0.1
    assert found["curve"]["measured"][-1] < max(found["curve"]["measured"]) - 0.1
    assert figures(notebook) == 4
