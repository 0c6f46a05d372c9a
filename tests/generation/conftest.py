"""Pictures, an engine that is asked in token ids, and the whole forward beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from sophia_jax.config import SamplingConfig
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.prompts import Prompt
from sophia_jax.types import Request

SIZES = {"one": (30, 30), "another": (28, 28), "wide": (64, 30)}
LONGEST = 192  # tokens of a prompt and its answer in these tests


class TokenEngine(Engine):
    """Prompts are given as token ids; answers end only where a test wants them to.

    Attributes:
      limits_of: the most tokens of each sample, by group; of all by default.
    """

    def __init__(self, model, *, max_new_tokens=12, never_ends=True, **options):
        sampling = {
            name: options.pop(name)
            for name in ("temperature", "top_p", "top_k")
            if name in options
        }
        options = {"slots": 16, "page": 8, "bucket": 8} | options
        super().__init__(model, SamplingConfig(max_new_tokens, **sampling), **options)
        self.limits_of = {}
        if never_ends:
            self.banned_ids = (*self.banned_ids, model.tokenizer.eos_token_id)

    def ask(self, prompts, *, num_samples=3, seeds=None):
        """{(group, sample): completion} for prompts by name."""
        seeds = seeds or {name: index for index, name in enumerate(prompts)}
        requests = (
            Request(name, "", num_samples=num_samples, seed=seeds[name])
            for name in prompts
        )
        return {(c.group, c.sample): c for c in self.run(prompts, requests)}

    def run(self, prompts, requests):
        self._token_ids = prompts
        return self(requests)

    def limits(self, request):
        return np.asarray(self.limits_of.get(request.group, super().limits(request)))

    def prompts(self, requests):
        for request in requests:
            ids = np.asarray(self._token_ids[request.group], np.int32)
            yield (
                Prompt(request, ids, np.zeros(len(ids), bool), None),
                self.limits(request),
            )


@pytest.fixture(scope="session")
def token_engine(text_model):
    def token_engine(**options):
        return TokenEngine(text_model, **options)

    return token_engine


@pytest.fixture(scope="session")
def random_prompts():
    """Prompts of given lengths, all different."""

    def random_prompts(*lengths):
        return {
            f"{place}": np.random.default_rng((length, place)).integers(9, 250, length)
            for place, length in enumerate(lengths)
        }

    return random_prompts


@pytest.fixture(scope="session")
def full_log_probs(text_model):
    """Log-probabilities of the tokens after a prompt, by the full forward."""

    @jax.jit
    def log_probs(params, token_ids):
        decoder = nnx.merge(text_model.graphdef, params).decoder
        positions = jnp.arange(LONGEST)[None]
        hidden = decoder(
            decoder.embedding(token_ids), positions, jnp.ones_like(positions)
        )
        return jax.nn.log_softmax(hidden @ decoder.head)[0]

    def of_answer(prompt, answer):
        token_ids = np.zeros((1, LONGEST), np.int32)
        whole = np.concatenate([prompt, answer])
        token_ids[0, : len(whole)] = whole
        rows = log_probs(text_model.params, token_ids)
        return np.asarray(rows)[len(prompt) - 1 : len(whole) - 1]

    return of_answer


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Paths by name; the wide one makes two tiles and a thumbnail."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    paths = {}
    for name, (width, height) in SIZES.items():
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        paths[name] = str(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[name])
    return paths
