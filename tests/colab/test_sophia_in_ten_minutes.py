"""SOPHIA in ten minutes, in half of one: models that learn little, and lucky guesses.

With a threshold of 0 a caption needs a single right reasoning, so that something is
kept and every stage runs.
"""

SMALL = {
    "num_questions": 30,
    "num_held_out": 5,
    "num_readings": 100,
    "base_steps": 1,
    "reasoner_steps": 100,
    "update_steps": 6,
    "batch_size": 16,
    "num_texts": 5,
    "threshold": 0.0,
    "slots": 16,
}


def test_trajectories_are_kept_and_learnt(execute, figures):
    found, notebook = execute(
        "sophia_in_ten_minutes",
        SMALL,
        counts="counts",
        losses="losses",
        kept="len(kept)",
        shown="len(shown)",
        surprise="surprise.tolist()",
        sizes="mixture.sizes",
        before="before['num_questions']",
        after="after['num_questions']",
        moved="float(jax.tree.reduce(max, jax.tree.map(lambda a, b: abs(a - b).max(),"
        " base.params['decoder'], sophia.params['decoder'])))",
    )
    counts = found["counts"]
    assert counts["captions"] == 8 * 30
    assert counts["reasonings"] == 64 * 30
    assert counts["kept"] >= 1
    assert counts["kept"] + sum(counts["dropped"].values()) == 30
    assert found["kept"] == found["sizes"]["trajectories"] == counts["kept"]
    assert found["losses"][-1] < found["losses"][0] / 1.2
    assert len(found["surprise"]) == 6
    assert found["surprise"][-1] < found["surprise"][0]
    assert found["moved"] > 0
    assert found["before"] == found["after"] == 5
    assert figures(notebook) == 5 + found["shown"]
