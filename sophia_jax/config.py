"""Every size and setting, as frozen dataclasses that are checked when they are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

__all__ = [
    "AdvantageName",
    "Algorithm",
    "Dtype",
    "GrpoConfig",
    "LoraConfig",
    "LoraTarget",
    "ModelConfig",
    "NormalizationName",
    "OptimizerConfig",
    "Remat",
    "RoutingConfig",
    "RopeScaling",
    "SamplingConfig",
    "ServerConfig",
    "SophiaConfig",
    "StateDtype",
    "TextConfig",
    "VisionConfig",
]

Remat = Literal["none", "block", "projections"]
"""What layers form again in the backward pass: nothing, all, all but projections."""


AdvantageName = Literal["group", "group-centred", "leave-one-out"]
"""How an answer is compared with the others to its question."""

NormalizationName = Literal["sequence", "tokens", "length"]
"""Over what a loss of tokens is a mean: an answer, an update, the longest answer."""


def _require(condition: bool, field: str, rule: str, value: object) -> None:
    if not condition:
        raise ValueError(f"{field}: expected {rule}, got {value}")


@dataclass(frozen=True)
class RopeScaling:
    """How rotary angles go on beyond the length that a model was trained at.

    The defaults of YaRN's fields are those of its paper.
    """

    kind: Literal["linear", "dynamic", "yarn"]
    factor: float  # of the length, >= 1
    original_length: int  # tokens
    beta_fast: float = (
        32.0  # YaRN: turns in original_length above which nothing changes
    )
    beta_slow: float = 1.0  # YaRN: turns below which angles shrink by the factor
    attention_factor: float | None = None  # YaRN: None for 0.1 ln(factor) + 1
    truncate: bool = True  # YaRN: whether the ramp ends at whole dimensions

    def __post_init__(self) -> None:
        _require(
            self.kind in ("linear", "dynamic", "yarn"),
            "rope scaling",
            "linear, dynamic or yarn",
            self.kind,
        )
        _require(self.factor >= 1, "rope factor", ">= 1", self.factor)
        _require(
            self.original_length > 0, "original_length", "> 0", self.original_length
        )

    @property
    def longest(self) -> int:
        """Tokens up to which the scaling was meant to reach."""
        return int(self.factor * self.original_length)


@dataclass(frozen=True)
class TextConfig:
    """A decoder of the Qwen2.5, Qwen3, Llama or InternLM2 type."""

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_size: int
    max_length: int  # tokens, prompt and answer together
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    tied_head: bool = False  # the output head is the transposed embedding
    qk_norm: bool = False  # RMSNorm of each query and key head, as in Qwen3
    rope_scaling: RopeScaling | None = None
    vocab_multiple: int = 1  # rows of embedding and head are padded to such a number

    def __post_init__(self) -> None:
        positive = ("vocab_size", "hidden_size", "num_layers", "num_heads", "mlp_size")
        for name in positive:
            _require(getattr(self, name) > 0, name, "> 0", getattr(self, name))
        _require(
            self.num_kv_heads > 0 and self.num_heads % self.num_kv_heads == 0,
            "num_kv_heads",
            f"a divisor of num_heads={self.num_heads}",
            self.num_kv_heads,
        )
        _require(
            self.head_dim > 0 and self.head_dim % 2 == 0,
            "head_dim",
            "an even number > 0",
            self.head_dim,
        )
        _require(self.max_length > 0, "max_length", "> 0", self.max_length)
        _require(self.vocab_multiple > 0, "vocab_multiple", "> 0", self.vocab_multiple)

    @property
    def embedding_rows(self) -> int:
        """Rows of the embedding, and columns of the head: the rest is padding."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple


@dataclass(frozen=True)
class VisionConfig:
    """InternViT of the 300M (layer_norm, qkv_bias) or 6B (rms_norm, qk_norm) type."""

    hidden_size: int
    num_layers: int
    num_heads: int
    mlp_size: int
    image_size: int = 448  # pixels, square tiles
    patch_size: int = 14  # pixels
    num_channels: int = 3
    norm: Literal["layer_norm", "rms_norm"] = "layer_norm"
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    qk_norm: bool = False  # RMSNorm over the full width, before the heads are split
    layer_scale: float = 0.1  # initial value of the residual scales

    def __post_init__(self) -> None:
        _require(
            self.num_heads > 0 and self.hidden_size % self.num_heads == 0,
            "vision num_heads",
            f"a divisor of hidden_size={self.hidden_size}",
            self.num_heads,
        )
        _require(
            self.image_size % self.patch_size == 0,
            "vision patch_size",
            f"a divisor of image_size={self.image_size}",
            self.patch_size,
        )
        _require(
            self.norm in ("layer_norm", "rms_norm"),
            "vision norm",
            "layer_norm or rms_norm",
            self.norm,
        )

    @property
    def patches_per_side(self) -> int:
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class ModelConfig:
    """A text-only decoder (`vision` is None) or a vision-language model around it."""

    text: TextConfig
    vision: VisionConfig | None = None
    image_token_id: int | None = None  # the placeholder that one image feature replaces
    pixel_shuffle: int = 2  # patches per side that are folded into one image token

    def __post_init__(self) -> None:
        if self.vision is None:
            return
        _require(
            self.image_token_id is not None
            and 0 <= self.image_token_id < self.text.vocab_size,
            "image_token_id",
            f"a token below vocab_size={self.text.vocab_size}",
            self.image_token_id,
        )
        _require(
            self.vision.patches_per_side % self.pixel_shuffle == 0,
            "pixel_shuffle",
            f"a divisor of {self.vision.patches_per_side} patches per side",
            self.pixel_shuffle,
        )

    @property
    def tokens_per_tile(self) -> int:
        """How many image tokens the decoder reads for one tile."""
        if self.vision is None:
            return 0
        return (self.vision.patches_per_side // self.pixel_shuffle) ** 2


Algorithm = Literal["adamw", "muon", "adafactor"]
StateDtype = Literal["float32", "int8"]
Dtype = Literal["float32", "bfloat16"]

LoraTarget = Literal["query", "key", "value", "out", "gate", "up", "down"]
"""The matrices of a decoder's layer."""


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters of the decoder's layers: W + alpha / rank A B.

    Reference:
      Hu et al., 2021, "LoRA", https://arxiv.org/abs/2106.09685, section 4.1.
    """

    rank: int = 16  # columns of A, rows of B
    alpha: float = 32.0
    targets: tuple[LoraTarget, ...] = get_args(LoraTarget)

    def __post_init__(self) -> None:
        _require(self.rank > 0, "lora rank", "> 0", self.rank)
        _require(self.alpha > 0, "lora alpha", "> 0", self.alpha)
        chosen = set(self.targets)
        once = len(chosen) == len(self.targets)
        _require(
            bool(chosen) and once and chosen <= set(get_args(LoraTarget)),
            "lora targets",
            f"some of {', '.join(get_args(LoraTarget))}, each once",
            ", ".join(self.targets) or "none",
        )

    @property
    def scale(self) -> float:
        """What A B is multiplied by."""
        return self.alpha / self.rank


@dataclass(frozen=True)
class SamplingConfig:
    """How tokens are drawn. The paper evaluates at temperature 1.0 and top-p 0.8."""

    max_new_tokens: int
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    top_k: int = 0  # 0 keeps all

    def __post_init__(self) -> None:
        _require(self.max_new_tokens > 0, "max_new_tokens", "> 0", self.max_new_tokens)
        _require(self.temperature >= 0, "temperature", ">= 0", self.temperature)
        _require(0 < self.top_p <= 1, "top_p", "in (0, 1]", self.top_p)
        _require(self.top_k >= 0, "top_k", ">= 0 (0 keeps all)", self.top_k)


@dataclass(frozen=True)
class ServerConfig:
    """How a model on a server is asked."""

    concurrency: int = 64  # requests at a time
    timeout_seconds: float = 1800.0  # the longest silence that is waited for
    retries: int = 10  # tries of a request after the first
    stream: bool = False  # read replies while they are written
    log_probs: bool = False  # ask for them
    fields: Mapping[str, Any] = field(default_factory=dict)  # of requests; None: none
    key_variable: str = "OPENAI_API_KEY"  # of the environment; unset: no key is sent
    # Of a million tokens of prompts, of prompts found in a cache, and of answers.
    prices: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        _require(self.concurrency > 0, "concurrency", "> 0", self.concurrency)
        _require(
            self.timeout_seconds > 0, "timeout_seconds", "> 0", self.timeout_seconds
        )
        _require(self.retries >= 0, "retries", ">= 0", self.retries)
        # Not shown, since it may be the key itself.
        _require(
            self.key_variable.isidentifier(),
            "key_variable",
            "the name of an environment variable",
            f"{len(self.key_variable)} characters that are none",
        )
        fixed = sorted({"model", "messages", "n", "stream"} & self.fields.keys())
        _require(not fixed, "fields", "none that is fixed", ", ".join(fixed))
        _require(
            self.prices is None or min(self.prices) >= 0,
            "prices",
            ">= 0",
            self.prices,
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW; the defaults are the paper's (section 5.1), but for what is marked."""

    num_steps: int
    algorithm: Algorithm = "adamw"
    state: StateDtype = "float32"  # of AdamW's moments
    master: bool = False  # float32 copies of weights that have fewer bits
    learning_rate: float = 2e-5
    final_fraction: float = 0.25  # the cosine ends at this share of learning_rate
    warmup_steps: int = 0  # the paper gives none
    weight_decay: float = 0.05
    beta1: float = 0.9  # the paper gives none: AdamW's usual value
    beta2: float = 0.95  # the paper gives none
    clip_norm: float | None = (
        1.0  # the gradient's norm, but for Muon; the paper gives none
    )

    def __post_init__(self) -> None:
        _require(self.num_steps > 0, "num_steps", "> 0", self.num_steps)
        _require(
            self.algorithm in get_args(Algorithm),
            "algorithm",
            "adamw, muon or adafactor",
            self.algorithm,
        )
        _require(
            self.state == "float32"
            or (self.state, self.algorithm) == ("int8", "adamw"),
            "state",
            "float32, or int8 of adamw",
            f"{self.state} of {self.algorithm}",
        )
        _require(self.learning_rate > 0, "learning_rate", "> 0", self.learning_rate)
        _require(
            0 <= self.final_fraction <= 1,
            "final_fraction",
            "in [0, 1]",
            self.final_fraction,
        )
        _require(
            0 <= self.warmup_steps < self.num_steps,
            "warmup_steps",
            f"in [0, num_steps={self.num_steps})",
            self.warmup_steps,
        )
        _require(self.weight_decay >= 0, "weight_decay", ">= 0", self.weight_decay)


@dataclass(frozen=True)
class SophiaConfig:
    """The semi-off-policy round: the paper's numbers (section 5.1)."""

    num_captions: int = 8  # K captions per image
    num_reasonings: int = 8  # N reasonings per caption
    threshold: float = 0.75  # alpha: a caption must do strictly better
    seed: int = 0
    round: int = 0  # the paper has one round; keys of another round differ
    early_stopping: bool = True  # stop reasonings that cannot change the selection

    def __post_init__(self) -> None:
        _require(self.num_captions > 0, "num_captions", "> 0", self.num_captions)
        _require(self.num_reasonings > 0, "num_reasonings", "> 0", self.num_reasonings)
        _require(0 <= self.threshold <= 1, "threshold", "in [0, 1]", self.threshold)


@dataclass(frozen=True)
class RoutingConfig:
    """Which questions are easy; the paper has two reasoners, and does not say."""

    num_samples: int = 4  # answers of the policy to each question
    easy_above: float = 0.5  # share of right ones that an easy question exceeds

    def __post_init__(self) -> None:
        _require(self.num_samples > 0, "num_samples", "> 0", self.num_samples)
        _require(0 <= self.easy_above <= 1, "easy_above", "in [0, 1]", self.easy_above)


@dataclass(frozen=True)
class GrpoConfig:
    """On-policy steps: the numbers of the paper's baseline, but for what is marked."""

    num_steps: int = 100  # the paper's table takes its model then; it tracks 480
    num_questions: int = 64  # in a step
    num_answers: int = 8  # to each question
    passes: int = 1  # over the answers of a step; the paper gives none
    keep_equal_groups: bool = False  # learn where all answers earned the same, too
    system: str | None = None  # the system prompt; None for the model's default
    seed: int = 0  # of the questions' order, and of all samples

    def __post_init__(self) -> None:
        least = {"num_steps": 1, "num_questions": 1, "num_answers": 2, "passes": 1}
        for name, number in least.items():
            value = getattr(self, name)
            _require(value >= number, name, f">= {number}", value)
        _require(self.seed >= 0, "seed", ">= 0", self.seed)

    def most_updates(self, batch_size: int) -> int:
        """Of the whole run, were no group dropped; batches are of answers."""
        answers = self.num_questions * self.num_answers
        return self.num_steps * self.passes * -(-answers // batch_size)
