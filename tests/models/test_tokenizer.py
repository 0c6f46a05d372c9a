"""A trained tokenizer spells digits, can write anything, and survives its folder."""

import json
import unicodedata

import pytest

from sophia_jax.models.tokenizer import (
    END,
    IMAGE_CONTEXT,
    IMAGE_END,
    IMAGE_START,
    load_tokenizer,
    train_tokenizer,
)
from sophia_jax.types import InputError

TEXTS = ["12 plus 34 is 46, and 2025 is a year.", "<think>1 + 1 = 2</think> 2"] * 3


def test_digits_are_single_tokens(tokenizer):
    # 2025 stands often in the texts, and still is not merged.
    trained = train_tokenizer(["2025 2025 2025"] * 50, 300)
    for tokens in (tokenizer, trained):
        ids = tokens("2025", add_special_tokens=False)["input_ids"]
        assert [tokens.decode([i]) for i in ids] == ["2", "0", "2", "5"]


@pytest.mark.parametrize(
    "text",
    [
        "plain words, and  two  blanks\n\n\ttabs\r\n",
        "naïve façade — “quotes” … €",
        "你好，世界 مرحبا שלום नमस्ते",
        "👩‍👩‍👧 \U0001f600 \U0010ffff \x00\x7f\u200b\ufeff",
        "∫₀¹ x² dx = ⅓, α ≤ β",
        "",
    ],
)
def test_any_text_round_trips(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


def test_every_character_round_trips_up_to_its_composed_form(tokenizer):
    # One character of every block of 97 code points, surrogates left out.
    points = (p for p in range(0, 0x110000, 97) if not 0xD800 <= p < 0xE000)
    text = "".join(map(chr, points))
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_marks_are_one_token_each(tokenizer):
    for mark in (IMAGE_START, IMAGE_CONTEXT, IMAGE_END, END, "<think>", "</think>"):
        assert len(tokenizer(mark, add_special_tokens=False)["input_ids"]) == 1
    assert tokenizer.eos_token == END
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_training_twice_gives_the_same_vocabulary(tokenizer):
    first, second = (train_tokenizer(TEXTS, 290) for _ in range(2))
    assert first.get_vocab() == second.get_vocab()
    assert len(first) <= 290


def test_a_saved_tokenizer_gives_the_same_ids(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    messages = [
        {"role": "user", "content": f"{IMAGE_CONTEXT} 12 + 3?\n你好"},
        {"role": "assistant", "content": "15"},
    ]
    prompt, whole = (
        tokenizer.apply_chat_template(
            messages[:number], tokenize=False, add_generation_prompt=number == 1
        )
        for number in (1, 2)
    )
    assert f"{IMAGE_CONTEXT} 12 + 3?\n你好{END}" in prompt
    # The answer continues the prompt that it was sampled from.
    assert whole.startswith(f"{prompt}15{END}")
    assert loaded.apply_chat_template(messages, tokenize=False) == whole
    assert tokenizer(prompt)["input_ids"] == loaded(prompt)["input_ids"]
    assert (loaded.eos_token_id, loaded.pad_token_id) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
    )


@pytest.mark.parametrize("name", ["Qwen2Tokenizer", "OwnTokenizer"])
def test_code_in_the_folder_is_never_run(tokenizer, tmp_path, name):
    tokenizer.save_pretrained(tmp_path)
    ran = tmp_path / "ran"
    code = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\nraise SystemExit\n"
    (tmp_path / "own.py").write_text(code)
    file = tmp_path / "tokenizer_config.json"
    change = {
        "tokenizer_class": name,
        "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]},
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    if name == "OwnTokenizer":
        with pytest.raises(InputError, match="no readable tokenizer"):
            load_tokenizer(tmp_path)
    else:
        assert load_tokenizer(tmp_path).get_vocab() == tokenizer.get_vocab()
    assert not ran.exists()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match="no readable tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer.json", ""),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"added_tokens": [], "model": 3}'),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
    ],
)
def test_a_damaged_tokenizer_is_refused_in_one_line(tokenizer, tmp_path, name, text):
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="no readable tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
