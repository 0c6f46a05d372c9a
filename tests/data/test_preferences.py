"""Preferences in every form of a file, texts or chats, and what is wrong with a row."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sophia_jax.data.preferences import Preference
from sophia_jax.data.sources import read_source
from sophia_jax.types import InputError

PLAIN = {"prompt": "1 + 1?", "chosen": " 2", "rejected": "3"}
ASKED = [{"role": "user", "content": "1 + 1?"}]


def say(text):
    return {"role": "assistant", "content": text}


CHATS = {"chosen": [*ASKED, say(" 2")], "rejected": [*ASKED, say("3")]}


@pytest.fixture
def read(tmp_path):
    def read(*rows, form="jsonl", **options):
        path = tmp_path / f"pairs.{form}"
        if form == "parquet":
            pq.write_table(pa.Table.from_pylist(list(rows)), path)
        elif form == "saved":
            table = pa.Table.from_pylist(list(rows))
            path.mkdir()
            with pa.ipc.new_stream(str(path / "data-0.arrow"), table.schema) as file:
                file.write_table(table)
            state = {"_data_files": [{"filename": "data-0.arrow"}]}
            (path / "state.json").write_text(json.dumps(state))
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_source(path, use="prefer", **options)

    return read


@pytest.fixture
def refusal(read):
    def refusal(row):
        with pytest.raises(InputError) as caught:
            read(row)
        return str(caught.value)

    return refusal


@pytest.mark.parametrize("form", ["jsonl", "parquet", "saved"])
@pytest.mark.parametrize(
    "row",
    [
        PLAIN,
        CHATS,
        CHATS | {"prompt": "1 + 1?"},
        {"prompt": ASKED, "chosen": [say(" 2")], "rejected": [say("3")]},
    ],
    ids=["texts", "whole chats", "chats and a prompt", "chats apart"],
)
def test_one_preference_is_the_same_in_every_form(form, row, read):
    [found] = read(row, form=form).items
    name = "1" if form == "jsonl" else "0"
    assert found == Preference(name, "1 + 1?", " 2", (), rejected="3")


def test_pictures_system_prompts_and_options_of_a_row_are_read(read, tmp_path):
    Image.new("RGB", (30, 30)).save(tmp_path / "a.png")
    content = [{"type": "image"}, {"type": "text", "text": "Which?"}]
    chat = [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": content},
    ]
    row = {"id": "x", "prompt": chat, "chosen": "a", "rejected": "b", "image": "a.png"}
    other = {"question": "And?", "system": "Be brief.", "choices": ["p", "q"]}
    first, second = read(row, {"id": "y", "chosen": "a", "rejected": "b"} | other).items
    assert (first.question, first.system, first.id) == ("Which?", "Think.", "x")
    assert first.images == (str(tmp_path / "a.png"),)
    assert (second.question, second.system) == ("And?\nA. p\nB. q", "Be brief.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": ""}, "chosen: expected a non-empty text, or a chat, got ''"),
        ({"rejected": 3}, "rejected: expected a non-empty text, or a chat, got 3"),
        ({"rejected": " 2"}, "rejected: expected another text than the chosen one"),
        ({"prompt": None}, "prompt: expected a text, or a chat as a list of messages"),
        ({"prompt": [*ASKED, say("?"), *ASKED]}, "prompt: expected one message of the"),
        ({"prompt": [{"role": "tool", "content": "x"}]}, "prompt: expected messages"),
        ({"prompt": [{"role": "user", "content": [3]}]}, "prompt: expected parts"),
        ({"prompt": []}, "prompt: expected a chat of one message or more, got []"),
        (
            {"chosen": [*ASKED]},
            "chosen: expected a chat that ends with the",
        ),
        ({"chosen": [*ASKED, say(" 2")]}, "rejected: expected the chosen answer's"),
        (CHATS | {"prompt": "Other?"}, "chosen: expected a chat that begins with the"),
        ({"image": "missing.png"}, "image: expected a readable picture"),
        ({"system": 3}, "system: expected a string or nothing, got 3"),
        ({"rejected_ended": "no"}, "rejected_ended: expected true or false, got 'no'"),
    ],
)
def test_a_bad_row_is_one_line_with_file_row_field_rule_and_value(
    change, message, refusal, tmp_path
):
    line = refusal(PLAIN | change)
    assert line.startswith(f"{tmp_path / 'pairs.jsonl'}:1: {message}")
    assert "\n" not in line


def test_the_system_message_of_the_answers_chats_counts_beside_a_plain_prompt(read):
    system = [{"role": "system", "content": "Think."}]
    chats = {name: system + chat for name, chat in CHATS.items()}
    with_end = chats | {"rejected_ended": False}
    bare, beside = read(chats, with_end | {"prompt": "1 + 1? "}).items
    assert (bare.system, beside.system) == ("Think.", "Think.")
    assert (bare.question, beside.question) == ("1 + 1?", "1 + 1?")
    assert (bare.rejected_ended, beside.rejected_ended) == (True, False)


def test_bad_rows_are_skipped_and_listed_on_request(read):
    found = read(PLAIN, PLAIN | {"chosen": "3"}, PLAIN, skip_bad_rows=True)
    assert [item.id for item in found.items] == ["1", "3"]
    [line] = found.skipped
    assert ":2: rejected: expected another text than the chosen one, got '3'" in line


def test_a_table_without_preferences_is_refused_by_its_columns(read):
    with pytest.raises(InputError, match="got no rejected among 'prompt', 'chosen'"):
        read({"prompt": "a", "chosen": "b"}, form="parquet")
