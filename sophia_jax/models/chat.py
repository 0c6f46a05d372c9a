"""Chat templates: InternVL's own, and where a template ends an answer."""

from __future__ import annotations

import json
from typing import Any

from sophia_jax.types import InputError

__all__ = ["internvl_template", "template_name", "turn_end"]

SHANGHAI = "由上海人工智能实验室"
SYSTEM_2_5 = (
    f"你是书生·万象，英文名是InternVL，是{SHANGHAI}、清华大学及多家合作单位联合开发的"
    "多模态大语言模型。"
)
SYSTEM_2 = (
    f"你是{SHANGHAI}联合商汤科技开发的书生多模态大模型，英文名叫InternVL, "
    "是一个有用无害的人工智能助手。"
)
# Name in config.json: what the system says by default, and what ends every turn.
TEMPLATES = {
    "internvl2_5": (SYSTEM_2_5, "<|im_end|>\n"),
    "internlm2-chat": (SYSTEM_2, "<|im_end|>"),
    "Hermes-2": (SYSTEM_2, "<|im_end|>"),
}

ANSWER = "answer"  # of a chat that is only looked at


def internvl_template(name: str, *, start: str = "") -> str:
    """The chat template that a model in InternVL's original layout was trained with.

    start <|im_start|>system\\n...<|im_end|>\\n <|im_start|>user\\n...<|im_end|>\\n
    <|im_start|>assistant\\n, with a system prompt of its own unless one is given.

    Args:
      name: `template` of the folder's config.json; InternVL2.5 and InternVL3 have
        internvl2_5.
      start: what the tokenizer puts before every text.

    Returns:
      The Jinja source.

    Raises:
      InputError: the template is not implemented.

    Reference: https://github.com/OpenGVLab/InternVL, `conversation.py`.
    """
    if name not in TEMPLATES:
        known = ", ".join(TEMPLATES)
        raise InputError(f"template: expected one of {known}, got {name!r}")
    system, end = TEMPLATES[name]
    turn = "'<|im_start|>' + message.role + '\\n' + message.content + " + _quoted(end)
    default = f"<|im_start|>system\n{system}{end}"
    return (
        f"{{{{ {_quoted(start)} }}}}"
        "{% if messages[0].role != 'system' %}"
        f"{{{{ {_quoted(default)} }}}}"
        "{% endif %}"
        "{% for message in messages %}"
        f"{{{{ {turn} }}}}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )


def template_name(tokenizer: Any) -> str | None:
    """What InternVL's original layout calls a tokenizer's chat template; None: nothing.

    Args:
      tokenizer: of `transformers`.
    """
    start = tokenizer.decode(tokenizer("").input_ids)
    for name in TEMPLATES:
        if tokenizer.chat_template == internvl_template(name, start=start):
            return name
    return None


def turn_end(tokenizer: Any) -> str:
    """The special token with which the chat template ends an answer.

    It is what the model was trained to stop with; `eos_token` may be another one, as
    `</s>` of InternLM2.

    Args:
      tokenizer: of `transformers`.

    Raises:
      InputError: there is no chat template, or no special token ends an answer.
    """
    if not tokenizer.chat_template:
        raise InputError("chat_template: expected one, got none")
    messages = [
        {"role": "user", "content": ""},
        {"role": "assistant", "content": ANSWER},
    ]
    chat = tokenizer.apply_chat_template(messages, tokenize=False)
    rest = chat.rpartition(ANSWER)[2]
    first = tokenizer(rest, add_special_tokens=False).input_ids[:1]
    added = tokenizer.added_tokens_decoder
    if not first or first[0] not in added or not added[first[0]].special:
        raise InputError(
            "chat_template: expected a special token at the end of an answer, "
            f"got {rest[:40]!r}"
        )
    return added[first[0]].content


def _quoted(text: str) -> str:
    """A string as Jinja writes it."""
    return json.dumps(text, ensure_ascii=False)
