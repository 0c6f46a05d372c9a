"""InternVL on a TPU, with a tiny model of random weights.

The plan is of a GPU, for which nothing is compiled; `tests/planning` compiles for TPU.
"""

import dataclasses
import json
from pathlib import Path

import pytest

from sophia_jax.models.folder import save_model

NOTEBOOK = Path(__file__).parents[2] / "colab" / "internvl_on_a_tpu.ipynb"


@pytest.fixture
def tiny(vision_model, tmp_path):
    """A folder of it, with room for the prompt of the paper's captions."""
    config = vision_model.config
    text = dataclasses.replace(config.text, max_length=2048)
    config = dataclasses.replace(config, text=text)
    save_model(dataclasses.replace(vision_model, config=config), tmp_path / "tiny")


def test_a_model_is_loaded_asked_and_planned(execute, figures, tiny):
    options = "--policy tiny --reasoner none --slice h100-1 --once --tiles 4"
    few = "--batch-size 8 --caption-slots 64"
    found, notebook = execute(
        "internvl_on_a_tpu",
        {
            "model_name": "tiny",
            "max_new_tokens": 12,
            "plan_options": f"{options} --max-length 2048 {few}",
        },
        dtype="model.dtype.name",
        tiles="len(tiles)",
        features="list(features.shape)",
        caption="len(caption.token_ids)",
        answers="[len(each.token_ids) for each in answers]",
        verdicts="[verdict.value for verdict in verdicts]",
        fits="plan['fits']",
        roles="[role['name'] for role in plan['roles']]",
    )
    assert found["dtype"] == "bfloat16"
    assert found["features"] == [found["tiles"], 4, 32]
    assert all(1 <= length <= 12 for length in (found["caption"], *found["answers"]))
    assert len(found["verdicts"]) == len(found["answers"]) == 4
    assert found["fits"]
    assert found["roles"][-1] == "policy update"
    assert figures(notebook) == 4


def test_a_model_that_cannot_be_had_is_said_in_a_sentence(monkeypatch):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    (load,) = (each for each in cells if each["id"] == "load")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    import jax

    import sophia_jax as sj

    given = {"jax": jax, "sj": sj, "model_name": "no/model", "dtype": "bfloat16"}
    with pytest.raises(RuntimeError) as stopped:
        exec("".join(load["source"]), given)
    words = str(stopped.value)
    assert words.startswith("The model could not be loaded: no/model: expected a model")
    assert "\n" not in words
