"""A trained tokenizer spells digits, can write anything, and survives its folder."""

import copy
import itertools
import json
import unicodedata

import pytest

from sophia_jax.data.prompts import answer_opening
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


@pytest.mark.parametrize("name", ["Qwen2Tokenizer", "OwnTokenizer", None])
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
    # What tokenizer.json says needs no code.
    assert load_tokenizer(tmp_path).get_vocab() == tokenizer.get_vocab()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no readable tokenizer"):
        load_tokenizer(tmp_path)
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
    with pytest.raises(InputError, match="no readable tok|expected a .*JSON") as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


HARD = [
    "plain words, and  two  blanks\n\n\ttabs\r\n  x",
    "naïve façade — “quotes” … € é",
    "你好，世界 مرحبا שלום नमस्ते",
    "👩‍👩‍👧 \U0001f600 \U0010ffff \x00\x7f\u200b\ufeff",
    "It's 12.5 = 25/2, isn't it? I'LL say 1234567.",
    "\\boxed{\\frac{1}{2}} ∫₀¹ x² dx = ⅓",
    "   leading, trailing   ",
    "def f(x):\n    return x == 3\n\n\n",
]


def byte_alphabet():
    """How byte-level BPE writes each byte: as itself where it is printable."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + place) for place, byte in enumerate(others)
    }


def test_qwen_s_ids_are_those_of_plain_byte_pair_encoding(shared):
    """Against the algorithm, step by step, over the published vocabulary."""
    regex = pytest.importorskip("regex")
    folder = shared / "hf" / "InternVL3-8B"
    vocabulary = json.loads((folder / "vocab.json").read_text())
    lines = (folder / "merges.txt").read_text().splitlines()
    pairs = [tuple(line.split(" ")) for line in lines if not line.startswith("#ver")]
    rank = {pair: place for place, pair in enumerate(pairs)}
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
        r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    spelled = byte_alphabet()

    def expected(text):
        ids = []
        for word in regex.findall(pattern, unicodedata.normalize("NFC", text)):
            parts = [spelled[byte] for byte in word.encode()]
            while len(parts) > 1:
                here = [rank.get(pair, len(rank)) for pair in itertools.pairwise(parts)]
                if (best := min(here)) == len(rank):
                    break
                place = here.index(best)
                parts[place : place + 2] = ["".join(pairs[best])]
            ids += [vocabulary[part] for part in parts]
        return ids

    tokenizer = load_tokenizer(folder)
    for text in HARD:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert ids == expected(text), text
        assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_internvl3_s_special_tokens_have_their_published_ids(shared, tmp_path):
    folder = shared / "hf" / "InternVL3-8B"
    added = json.loads((folder / "added_tokens.json").read_text())
    assert added["<IMG_CONTEXT>"] == 151667
    tokenizer = load_tokenizer(folder)
    assert len(tokenizer) == 151674
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == (END, 151645)
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.chat_template == tokenizer.chat_template
    for text in (*HARD, "<|im_start|>a<img><IMG_CONTEXT></img>\n"):
        assert again(text).input_ids == tokenizer(text).input_ids
    for token, id_ in added.items():
        for loaded in (tokenizer, again):
            assert loaded(f"a {token}b", add_special_tokens=False).input_ids[2] == id_


def test_an_answer_ends_where_the_template_says(tokenizer, tmp_path):
    # As InternLM2's or a base model's folder: eos_token is that of plain texts.
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    change = {"eos_token": "<|endoftext|>"}
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    loaded = load_tokenizer(tmp_path)
    assert loaded.eos_token == END
    assert loaded.eos_token_id == tokenizer.convert_tokens_to_ids(END)


def test_deepseek_s_distilled_folders_are_read_as_they_stand(tokenizer, tmp_path):
    """They name LlamaTokenizerFast, whose way of cutting is not that of their file."""
    end = "<｜end▁of▁sentence｜>"
    distilled = copy.deepcopy(tokenizer)
    distilled.add_special_tokens({"eos_token": end})
    distilled.add_tokens(["<｜User｜>", "<｜Assistant｜>"])
    distilled.chat_template = (
        "{% for message in messages %}{% if message.role == 'user' %}<｜User｜>"
        "{{ message.content }}{% else %}<｜Assistant｜>"
        "{{ message.content.split('</think>')[-1] }}" + end + "{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
    )
    distilled.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    change = {"tokenizer_class": "LlamaTokenizerFast", "eos_token": "<|endoftext|>"}
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    loaded = load_tokenizer(tmp_path)
    assert loaded.eos_token == end
    assert answer_opening(loaded) == "<think>\n"
    for text in HARD:
        ids = loaded(text, add_special_tokens=False).input_ids
        assert ids == tokenizer(text, add_special_tokens=False).input_ids
        assert loaded.decode(ids) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "chat_template: expected one, got none"),
        (
            "{% for message in messages %}{{ message.content }}\n{% endfor %}",
            r"expected a special token at the end of an answer, got '\\n'",
        ),
        ("{{ raise_exception('no chats') }}", "no chats"),
        ("{% for %}", "no readable tokenizer"),
    ],
)
def test_an_end_that_cannot_be_known_is_refused(tokenizer, tmp_path, template, message):
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "chat_template.jinja"
    file.unlink() if template is None else file.write_text(template)
    with pytest.raises(InputError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_folder_of_the_original_layout_has_internvl_s_template(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    config = {"model_type": "internvl_chat", "template": "internvl2_5"}
    config["auto_map"] = {"AutoConfig": "own.OwnConfig"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    chat = load_tokenizer(tmp_path).apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    )
    assert chat.startswith("<|im_start|>system\n你是书生·万象")
    (tmp_path / "config.json").write_text(json.dumps(config | {"template": "vicuna"}))
    with pytest.raises(
        InputError, match="template: expected one of internvl2_5, .*vic"
    ):
        load_tokenizer(tmp_path)
