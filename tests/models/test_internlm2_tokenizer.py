"""InternLM2's tokenizer cuts texts as sentencepiece does, and runs no code for it."""

import json
import random
import shutil

import numpy as np
import pytest
import transformers

from sophia_jax.models.tokenizer import load_tokenizer
from sophia_jax.types import InputError

sentencepiece = pytest.importorskip("sentencepiece")

TEXTS = [
    "",
    " ",
    " leading and trailing  ",
    "two  blanks, three   , and\ta tab",
    "\n\n\n",
    " \n \n  x\r\n\ty",
    "user\nWhat is 12 + 345.6?",
    "1234567890 ２０２５年１月",
    "你好，世界。图片里有三个苹果，  两个梨。",
    "naïve façade — “quotes” … €",
    "👩‍👩‍👧 \U0001f600 \U0010ffff \x7f\u200b\ufeff",
    "∫₀¹ x² dx = ⅓, α ≤ β",
    "<0x0A> <0xFF> ▁ ▁▁x",
    "aaaaaaaaaaaaaaaaaaaaa ====== ------ \\\\\\\\",
    "ＥＥ１Ｅ E1",
    "[UNUSED_TOKEN_140]",
    "مرحبا שלום नमस्ते",
    "\\boxed{\\frac{1}{2}}",
]
ALPHABETS = [
    "aab \n\t",
    "0123 .,",
    "ab▁ Ｅ１",
    "你好世界",
    "<0x0A>|im_",
    "é😀‍👩\x01",
    "=-*/\\",
]


@pytest.fixture(scope="module", params=["learnt", "published"])
def folder(request):
    if request.param == "learnt":
        return request.getfixturevalue("small_internlm2")
    return request.getfixturevalue("shared") / "hf" / "internlm2-tokenizer"


@pytest.fixture(scope="module")
def both(folder):
    """Ours and sentencepiece's own."""
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "tokenizer.model")
    )
    return load_tokenizer(folder), model


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_texts_are_sentencepiece_s(both, text):
    ours, theirs = both
    ids = ids_of(ours, text)
    assert ids == theirs.encode(text)
    # It takes ▁ for a blank: in both directions, and so do we.
    assert ours.decode(ids) == theirs.decode(ids) == text.replace("▁", " ")


def test_ids_are_sentencepiece_s_on_random_texts(both):
    ours, theirs = both
    draw = random.Random(0)
    pieces = [theirs.id_to_piece(id_) for id_ in range(259, theirs.get_piece_size())]
    pieces = [p for p in pieces if not p.startswith("[UNUSED") and "\0" not in p]
    for length in range(1500):
        source = [*pieces, *"".join(ALPHABETS)] if length % 2 else ALPHABETS[length % 7]
        text = "".join(draw.choice(source) for _ in range(1 + length % 40))
        ids = ids_of(ours, text)
        assert ids == theirs.encode(text), repr(text)
        assert ours.decode(ids) == theirs.decode(ids)


def test_every_piece_is_read_as_in_sentencepiece(both):
    ours, theirs = both
    for id_ in range(259, theirs.get_piece_size()):
        piece = theirs.id_to_piece(id_).replace("▁", " ")
        # Versions of sentencepiece differ on the null character.
        if not piece.startswith("[UNUSED") and piece != "\0":
            assert ids_of(ours, piece) == theirs.encode(piece), piece


@pytest.mark.parametrize("spelled", ["😀", "é", "你"])
def test_bytes_are_decoded_to_the_characters_that_they_spell(both, spelled):
    ours, theirs = both
    ids = [theirs.piece_to_id(f"<0x{byte:02X}>") for byte in spelled.encode()]
    for some in (ids, ids[:-1], [*ids, *theirs.encode("a"), *ids[:1]]):
        assert ours.decode(some) == theirs.decode(some)


def test_special_tokens_have_their_ids(folder, both):
    ours, theirs = both
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for id_, token in config["added_tokens_decoder"].items():
        assert ids_of(ours, f"{token['content']}")[-1:] == [int(id_)]
        text = f"x{token['content']}y"
        around = [*theirs.encode("x"), int(id_), *theirs.encode("y")]
        assert ids_of(ours, text) == around
        assert ours.decode(around, skip_special_tokens=False) == text
        assert ours.decode(around, skip_special_tokens=True) == "xy"
    assert len(ours) == 1 + max(map(int, config["added_tokens_decoder"]))


def test_the_published_ids(shared):
    tokenizer = load_tokenizer(shared / "hf" / "internlm2-tokenizer")
    expected = {
        "<unk>": 0,
        "<s>": 1,
        "</s>": 2,
        "<|plugin|>": 92538,
        "<|im_end|>": 92542,
        "<|im_start|>": 92543,
        "<img>": 92544,
        "</img>": 92545,
        "<IMG_CONTEXT>": 92546,
        "</box>": 92552,
    }
    assert {token: tokenizer.get_vocab()[token] for token in expected} == expected
    assert len(tokenizer) == 92553
    assert tokenizer.eos_token_id == 92542
    # The name of a piece that gave it up does not spell the special token.
    assert 92543 not in ids_of(tokenizer, "[UNUSED_TOKEN_146]")


def test_a_text_begins_with_the_start_token_unless_told_otherwise(both):
    ours, theirs = both
    assert ours("Hi").input_ids == [1, *theirs.encode("Hi")]
    assert ours("", add_special_tokens=False).input_ids == []


def test_cut_texts_join_without_blanks(both):
    ours, _ = both
    for text in ("12 plus 34", "  a  b", "你好 世界"):
        for cut in range(len(text)):
            ids = ids_of(ours, text[:cut]) + ids_of(ours, text[cut:])
            assert ours.decode(ids) == text


def test_what_is_saved_is_the_same_tokenizer_without_remote_code(both, tmp_path):
    ours, _ = both
    ours.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(
        tmp_path, trust_remote_code=False
    )
    chat = [{"role": "user", "content": "12 + 3?\n你好"}]
    expected = ours.apply_chat_template(chat, tokenize=False)
    for loaded in (again, theirs):
        assert loaded.get_vocab() == ours.get_vocab()
        assert loaded.eos_token == "<|im_end|>"
        assert loaded.apply_chat_template(chat, tokenize=False) == expected
        for text in (*TEXTS, "<|im_start|>a<IMG_CONTEXT>b"):
            assert loaded(text).input_ids == ours(text).input_ids
            ids = ids_of(loaded, text)
            assert loaded.decode(ids) == ours.decode(ids)


def test_threads_get_the_same_ids(both):
    from concurrent.futures import ThreadPoolExecutor

    ours, _ = both
    texts = TEXTS * 5
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda text: ids_of(ours, text), texts))
    assert together == [ids_of(ours, text) for text in texts]


@pytest.fixture
def spoiled(small_internlm2, tmp_path):
    return shutil.copytree(small_internlm2, tmp_path / "spoiled")


def edit_model(folder, **change):
    from transformers.convert_slow_tokenizer import import_protobuf

    model = import_protobuf().ModelProto()
    model.ParseFromString((folder / "tokenizer.model").read_bytes())
    for name, value in change.items():
        spec = getattr(model, name.split("__")[0])
        setattr(spec, name.split("__")[1], value)
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer_spec__add_dummy_prefix": True}, "add_dummy_prefix: expected Fal"),
        ({"normalizer_spec__remove_extra_whitespaces": True}, "remove_extra_whitesp"),
        ({"normalizer_spec__precompiled_charsmap": b"x"}, "precompiled_charsmap"),
        ({"trainer_spec__byte_fallback": False}, "byte_fallback: expected True"),
        ({"trainer_spec__model_type": 1}, "model_type: expected 2, got 1"),
    ],
)
def test_another_way_of_cutting_is_refused(spoiled, change, message):
    edit_model(spoiled, **change)
    with pytest.raises(InputError, match=rf"tokenizer\.model: {message}"):
        load_tokenizer(spoiled)


def test_a_special_token_that_would_get_another_id_is_refused(spoiled):
    file = spoiled / "tokenizer_config.json"
    config = json.loads(file.read_text())
    last = max(map(int, config["added_tokens_decoder"]))
    config["added_tokens_decoder"][str(last + 5)] = {"content": "<box>"}
    file.write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"'<box>' to get the id {last + 5}, got "):
        load_tokenizer(spoiled)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.model", b"no model"),
        ("tokenizer.model", None),
        ("tokenizer_config.json", b'{"tokenizer_class": "InternLM2Tokenizer"}'),
    ],
)
def test_damaged_files_are_refused_in_one_line(spoiled, name, content):
    if content is None:
        (spoiled / name).unlink()
    else:
        (spoiled / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_tokenizer(spoiled)
    assert str(caught.value).startswith(str(spoiled))
    assert "\n" not in str(caught.value)


def test_the_library_sentencepiece_is_not_needed(small_internlm2, tmp_path):
    import subprocess
    import sys

    script = (
        "import sys; sys.modules['sentencepiece'] = None\n"
        "import transformers.convert_slow_tokenizer as convert\n"
        "convert.is_sentencepiece_available = lambda: False\n"
        "from sophia_jax.models.tokenizer import load_tokenizer\n"
        f"print(load_tokenizer({str(small_internlm2)!r})('12  你').input_ids)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    expected = load_tokenizer(small_internlm2)("12  你").input_ids
    assert np.array_equal(json.loads(result.stdout), expected)
