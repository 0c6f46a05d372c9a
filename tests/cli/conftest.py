"""Small models with random weights, a few questions, and the console script."""

import json

import pytest
from PIL import Image

from sophia_jax.cli.main import main
from sophia_jax.models.folder import save_model
from sophia_jax.recipes import own_data
from sophia_jax.rewards import Verdict

SMALL = ("--prompts", "digits", "--slots", "32")


@pytest.fixture(scope="session")
def models(tmp_path_factory, vision_model, text_model):
    """Folders of a policy and of a reasoner that know nothing."""
    folder = tmp_path_factory.mktemp("models")
    save_model(vision_model, folder / "policy")
    save_model(text_model, folder / "reasoner")
    return folder


@pytest.fixture
def questions(tmp_path):
    """A question file of six rows with pictures, one of them with a true caption."""
    folder = tmp_path / "questions"
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(6):
        picture = Image.new("RGB", (84, 84), (255, 40 * index, 255))
        picture.save(folder / "images" / f"{index}.png")
        row = {"id": f"q{index}", "question": "What is the sum?", "answer": str(index)}
        rows.append(row | {"image": f"images/{index}.png", "kind": "sum"})
    rows[0]["caption"] = "12 34"
    write_rows(folder / "items.jsonl", rows)
    return folder / "items.jsonl"


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def change_row(questions):
    """Changes fields of one row of the question file."""

    def change(index, **fields):
        rows = [json.loads(line) for line in questions.read_text().splitlines()]
        rows[index] |= fields
        write_rows(questions, rows)

    return change


@pytest.fixture
def cli(capsys):
    """Runs a command; gives its exit code and what it printed, as lines."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture
def collecting(models, questions):
    """The options of a small collection."""
    return (
        *("--policy", models / "policy", "--reasoner", models / "reasoner"),
        *("--data", questions, *SMALL),
        *("--max-caption-tokens", 8, "--max-answer-tokens", 32),
        *("--num-captions", 2, "--num-reasonings", 4, "--threshold", 0),
    )


@pytest.fixture
def evaluating(models, questions):
    """The options of a small evaluation."""
    return (
        *("--model", models / "policy", "--data", questions, *SMALL),
        *("--max-new-tokens", 32, "--max-caption-tokens", 8),
    )


@pytest.fixture
def lenient(monkeypatch):
    """Takes every answer that came to an end for right."""

    class Lenient:
        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def verify(self, pairs):
            return [Verdict.RIGHT for _ in pairs]

    monkeypatch.setattr(own_data, "AnswerVerifier", Lenient)


@pytest.fixture
def content():
    """Gives the bytes of every file in a folder."""

    def read(folder):
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    return read
