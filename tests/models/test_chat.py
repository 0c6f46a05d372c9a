"""Chats are spelled as the models were trained, by hand from the published templates.

InternVL's are of `internvl_chat/internvl/conversation.py` in OpenGVLab/InternVL: the
template "internvl2_5" of InternVL2.5 and InternVL3, and "internlm2-chat" before it.
"""

import copy

import pytest

from sophia_jax.models.chat import internvl_template, turn_end
from sophia_jax.models.tokenizer import load_tokenizer
from sophia_jax.types import InputError

SYSTEM = (
    "你是书生·万象，英文名是InternVL，是由上海人工智能实验室、清华大学及多家合作单位联合"
    "开发的多模态大语言模型。"
)
QUESTION = {"role": "user", "content": "<image>\n12 + 3?"}


@pytest.fixture
def chat(tokenizer):
    def chat(template, *messages, generate=True):
        other = copy.deepcopy(tokenizer)
        other.chat_template = template
        return other.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generate
        )

    return chat


def test_internvl2_5_s_chat(chat):
    assert chat(internvl_template("internvl2_5"), QUESTION) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
        "<|im_start|>user\n<image>\n12 + 3?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_a_system_prompt_replaces_the_default(chat):
    system = {"role": "system", "content": 'Think "first".\n'}
    assert chat(internvl_template("internvl2_5"), system, QUESTION) == (
        '<|im_start|>system\nThink "first".\n<|im_end|>\n'
        "<|im_start|>user\n<image>\n12 + 3?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_turns_go_on(chat):
    answer = {"role": "assistant", "content": "15"}
    whole = chat(internvl_template("internvl2_5"), QUESTION, answer, QUESTION)
    assert whole.endswith(
        "12 + 3?<|im_end|>\n<|im_start|>assistant\n15<|im_end|>\n"
        "<|im_start|>user\n<image>\n12 + 3?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_internlm2_chat_has_no_line_breaks_between_turns(chat):
    assert chat(internvl_template("internlm2-chat", start="<s>"), QUESTION) == (
        "<s><|im_start|>system\n"
        "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "
        "是一个有用无害的人工智能助手。<|im_end|>"
        "<|im_start|>user\n<image>\n12 + 3?<|im_end|>"
        "<|im_start|>assistant\n"
    )


def test_internlm2_s_chat_begins_with_the_start_token(small_internlm2, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(small_internlm2, tmp_path / "original")
    config = {"model_type": "internvl_chat", "template": "internvl2_5"}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    text = tokenizer.apply_chat_template([QUESTION], tokenize=False)
    assert text.startswith(f"<s><|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>us")
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids[:2] == [1, tokenizer.convert_tokens_to_ids("<|im_start|>")]
    assert ids.count(1) == 1


def test_qwen2_5_s_chat_is_its_own(shared, tmp_path):
    # InternVL3's folder holds Qwen2.5's template, which InternVL3 itself does not use.
    source = shared / "hf" / "InternVL3-8B"
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).symlink_to(source / name)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eos_token == "<|im_end|>"
    told = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(
        told, tokenize=False, add_generation_prompt=True
    ) == (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
        "assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    original = load_tokenizer(source).apply_chat_template(told, tokenize=False)
    assert original.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n")


def test_an_unknown_template_is_refused():
    with pytest.raises(InputError, match=r"template: expected one of .*, got 'phi3-ch"):
        internvl_template("phi3-chat")


@pytest.mark.parametrize(
    "end", ["<|im_end|>", "<|im_end|>\n", "<|endoftext|>"], ids=repr
)
def test_the_end_of_an_answer_is_read_off_the_template(tokenizer, end):
    other = copy.deepcopy(tokenizer)
    other.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}: "
        "{{ message.content }}{{ '" + end.replace("\n", "\\n") + "' }}{% endfor %}"
    )
    assert turn_end(other) == end.strip()


def test_an_ordinary_added_token_ends_no_answer(tokenizer):
    other = copy.deepcopy(tokenizer)
    other.chat_template = (
        "{% for message in messages %}{{ message.content }}</think>{% endfor %}"
    )
    with pytest.raises(InputError, match="special token at the end .* got '</think>'"):
        turn_end(other)
