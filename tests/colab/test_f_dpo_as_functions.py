"""f-DPO as functions, as it stands: it takes seconds."""


def test_optima_are_found_and_gradients_stay_finite(execute, figures):
    found, notebook = execute(
        "f_dpo_as_functions",
        {},
        from_pairs="final_error",
        from_gradients="gradient_error",
        own="own_error",
        naive="{n: float(b.mean()) for n, b in naive_broken.items()}",
        ours="{n: float(b.mean()) for n, b in ours_broken.items()}",
        refused="list(refusals)",
    )
    assert len(found["from_pairs"]) == len(found["from_gradients"]) == 4
    for errors in (found["from_pairs"], found["from_gradients"]):
        assert all(error < 1e-3 for error in errors.values())
    assert found["own"] < 1e-3
    assert all(share > 0.5 for share in found["naive"].values())
    assert all(share == 0 for share in found["ours"].values())
    assert found["refused"] == ["total variation", "χ²"]
    assert figures(notebook) == 4
