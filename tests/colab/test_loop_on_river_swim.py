"""LOOP on RiverSwim, with few steps and seeds."""

SMALL = {"num_steps": 4000, "num_seeds": 3, "theory_seeds": 4}


def test_loop_regrets_less_than_ucrl2_and_keeps_the_truth(execute, figures):
    found, notebook = execute(
        "loop_on_river_swim",
        SMALL,
        gains="gains",
        regret="regret",
        coverage="coverage[1.0]",
        switches="{n: float(t.switches.mean()) for n, t in traces.items()}",
    )
    assert all(abs(gain - 0.428622433799) < 1e-9 for gain in found["gains"].values())
    regret = found["regret"]
    assert 0 < regret["LOOP"] < regret["UCRL2"] < regret["ε-greedy"]
    assert found["coverage"] == 1.0
    assert found["switches"]["LOOP"] < found["switches"]["UCRL2"]
    assert figures(notebook) == 4
