"""The first token of a model's answer, as a completion."""

import dataclasses

import numpy as np
import pytest

from sophia_jax.config import SamplingConfig
from sophia_jax.models.tokenizer import train_tokenizer
from sophia_jax.recipes.first_tokens import FirstTokens, tokens_that_read
from sophia_jax.recipes.fitting import fits_in
from sophia_jax.types import Request


def test_all_ways_to_write_a_word_are_found(text_model):
    texts = ["Yes yes YES yes no No", " yes no Yesterday nothing"] * 9
    tokenizer = train_tokenizer(texts, 300)
    text = dataclasses.replace(text_model.config.text, vocab_size=len(tokenizer))
    config = dataclasses.replace(text_model.config, text=text)
    model = dataclasses.replace(text_model, tokenizer=tokenizer, config=config)
    found = [
        tokenizer.decode([token]) for token in tokens_that_read(model, ("yes", "no"))
    ]
    assert {"Yes", " yes", " no"} <= set(found)
    assert {text.strip().casefold() for text in found} == {"yes", "no"}
    assert tokens_that_read(model, ("maybe",)) == []


def test_each_request_gets_its_likeliest_token_and_all_alternatives(text_model):
    ids = list(range(5, 60))
    fits = fits_in(text_model, SamplingConfig(1))
    first_tokens = FirstTokens(text_model, ids, fits)
    requests = [Request(f"g{n}", "so " * n + "it is?") for n in range(1, 6)]
    requests.insert(2, Request("long", "x" * 400))
    found = list(first_tokens(requests))
    assert [each.group for each in found] == [each.group for each in requests]
    reasons = [each.finish_reason for each in found]
    assert reasons == ["length", "length", "too_long", "length", "length", "length"]
    assert found[2].first_token is None
    for each in found[:2] + found[3:]:
        texts, log_probs = zip(*each.first_token, strict=True)
        assert texts == tuple(text_model.tokenizer.decode([token]) for token in ids)
        assert 0 < np.exp(log_probs).sum() < 1
        assert each.text == texts[int(np.argmax(log_probs))]
        assert each.token_ids.tolist() == [ids[int(np.argmax(log_probs))]]
    # What stands beside a prompt changes nothing.
    [alone] = first_tokens([requests[-1]])
    np.testing.assert_allclose(
        [value for _, value in alone.first_token],
        [value for _, value in found[-1].first_token],
        atol=1e-5,
    )


def test_no_tokens_are_refused(text_model):
    with pytest.raises(ValueError, match="token_ids: expected at least one, got none"):
        FirstTokens(text_model, [], lambda request: True)
