"""A run folder small enough to be read whole, with text that means harm."""

import json

import pytest
from PIL import Image

from sophia_jax.data.items import write_items
from sophia_jax.evaluation.judged import Selection
from sophia_jax.evaluation.predictions import write_predictions
from sophia_jax.evaluation.summary import summarize
from sophia_jax.rollouts.store import CAPTIONS, REASONINGS, SELECTION, ShardedTable
from sophia_jax.types import Item
from sophia_jax.viz.report import write_report

HOSTILE = "<script>alert(1)</script>\x00\x1b[31m\u202e\"'>&"
KEPT_TEXT = "3+4=7 so \\boxed{7}"
LONG = "x" * 1_000_000


def sample(text, **columns):
    given = {
        "prompt": "p",
        "text": text,
        "token_ids": [1, 2, 3],
        "finish_reason": "stop",
    }
    absent = {"behavior_log_probs": None, "policy_log_probs": None}
    return given | absent | columns


def captions(question_id):
    return [
        sample(f"caption {c} {HOSTILE}", question_id=question_id, caption=c)
        | {"reward": None, "seed": 0}
        for c in range(2)
    ]


def reasonings(question_id, outcomes):
    """Outcomes by caption, then by reasoning; the third is cut off where wrong."""
    return [
        sample(
            KEPT_TEXT if right else HOSTILE + LONG,
            question_id=question_id,
            caption=c,
            reasoning=r,
            verdict="right" if right else "wrong",
            reward=float(right),
            seed=0,
            finish_reason="length" if r == 2 and not right else "stop",
            token_ids=[0] * (1 + 3 * c + r),
        )
        for c, row in enumerate(outcomes)
        for r, right in enumerate(row)
    ]


def selected(question_id, rewards, reason, place=(None, None)):
    kept = place != (None, None)
    return {
        "question_id": question_id,
        "least_caption_rewards": rewards,
        "most_caption_rewards": rewards,
        "kept": kept,
        "reason": reason,
        "caption": place[0],
        "reasoning": place[1],
        "text": KEPT_TEXT if kept else None,
        "num_tokens": 9 if kept else None,
        "behavior_log_prob": -4.5 if kept else None,
        "reward": float(kept),
    }


def prediction(model, verdict):
    return {
        "question_id": "h1",
        "sample": 0,
        "kind": HOSTILE,
        "level": "",
        "question": f"held-out {HOSTILE}",
        "answer": "12",
        "image": "data/held_out/images/h1.png",
        "response": f"{model} says {HOSTILE}{LONG}",
        "extracted": None if model == "base" else "12",
        "verdict": verdict,
        "caption": HOSTILE,
        "caption_right": None,
        "num_tokens": 5,
        "finish_reason": "stop",
        "score": None,
    }


def write_rollouts(run):
    tables = {
        "captions": (CAPTIONS, captions("q1") + captions("q2")),
        "reasonings": (
            REASONINGS,
            reasonings("q1", [[1, 1, 1], [0, 1, 0]])
            + reasonings("q2", [[0, 0, 0], [0, 0, 0]]),
        ),
        "selection": (
            SELECTION,
            [
                selected("q1", [1.0, 1 / 3], "kept", (0, 1)),
                selected("q2", [0.0, 0.0], "no right answer"),
            ],
        ),
    }
    for name, (schema, rows) in tables.items():
        ShardedTable(run / "rollouts" / name, schema, 1).write(0, rows)


def write_evaluations(run):
    for model, verdict in (("base", "wrong"), ("sophia", "right")):
        folder = run / "evaluations" / model
        folder.mkdir(parents=True)
        write_predictions(
            folder / "predictions.parquet", [[prediction(model, verdict)]]
        )


def score(pass_at_1):
    return {
        "pass@1": pass_at_1,
        "num_questions": 40,
        "caption_accuracy": 0.8,
        "parsed": 0.9,
        "by_kind": {HOSTILE: {"pass@1": pass_at_1, "num_questions": 40}},
    }


SUMMARY = {
    "held_out": {"base": score(0.05), "sophia": score(0.6)},
    "constant_answer": {HOSTILE: {"answer": HOSTILE, "share": 0.05}},
    "reasoner": {"accuracy_on_true_captions": 0.95, "num_questions": 40},
    "seconds": {"base": 120.0, "captions": 30.5, "total": 150.5},
    "versions": {"jax": "0.10.2", "half": "\ud800"},
    "machine": {"cores": 2},
    "settings": {"sophia": {"threshold": 0.75}, "note": HOSTILE},
}


def write_run(run):
    """A whole run of two questions: one kept, one dropped; one held-out question."""
    run.mkdir()
    picture = Image.new("RGB", (4, 4), "white")
    question = Item("q1", f"What is it? {HOSTILE}", "7", (), "sum", "caption 5")
    other = Item("q2", "And what is this?", "8", (), "product")
    write_items(run / "data" / "train", [(question, picture), (other, picture)])
    write_items(run / "data" / "held_out", [(Item("h1", "?", "12", ()), picture)])
    write_rollouts(run)
    write_evaluations(run)
    for phase in ("base", "reasoner", "sophia"):
        folder = run / "training" / phase
        folder.mkdir(parents=True)
        rows = [{"step": s, "loss": 9.0 - s, "mean_log_prob": -1.0} for s in range(3)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "metrics.jsonl").write_text(lines)
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    return run


@pytest.fixture
def run_folder(tmp_path):
    """A run that the test may change."""
    return write_run(tmp_path / "run")


@pytest.fixture
def evaluation(tmp_path):
    """The folder of an evaluation: two questions, four answers to each."""
    folder = tmp_path / "evaluation"
    folder.mkdir()
    rows = [
        prediction("base", "right" if sample < right else "wrong")
        | {"question_id": name, "sample": sample, "score": float(sample)}
        for name, right in (("a", 1), ("b", 3))
        for sample in range(4)
    ]
    write_predictions(folder / "predictions.parquet", [rows])
    selection = Selection(("best-of-k",))
    summary = summarize(rows, pass_k=(1, 2, 4), selection=selection)
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """A run that no test changes, with its page."""
    run = write_run(tmp_path_factory.mktemp("whole") / "run")
    write_report(run)
    return run
