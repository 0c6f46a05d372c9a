"""One invertible table between our parameters and the names of Hugging Face files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sophia_jax.config import ModelConfig

__all__ = ["Layout", "Weight", "weight_table"]

Layout = Literal["transformers", "original"]
"""Whose names the tensors have: `InternVLForConditionalGeneration` of transformers, or
`InternVLChatModel`, the code that the models were published with."""


@dataclass(frozen=True)
class Weight:
    """A tensor of a file, and the parameter or parameters of ours that it holds.

    Attributes:
      name: the tensor's; with `{layer}` where ours have a leading layer axis.
      paths: of our parameters: keys of the nested dict, joined by dots. The tensor's
        rows are those of the first, then of the second, and so on.
      layout: of each: "same"; "transposed": [input, output] here, [output, input]
        there; "patches": [row * column * channel, hidden] here, the kernel [hidden,
        channel, row, column] of a convolution there.
      groups: the rows come in so many equal groups, each with its share of every
        parameter's rows.
      padded: ours has rows at the end that the file has not.
    """

    name: str
    paths: tuple[str, ...]
    layout: Literal["same", "transposed", "patches"] = "same"
    groups: int = 1
    padded: bool = False

    @property
    def stacked(self) -> bool:
        return "{layer}" in self.name

    @property
    def row_axis(self) -> int:
        """The axis of ours, less that of layers, which is the file's first."""
        return 0 if self.layout == "same" else -1


def weight_table(
    config: ModelConfig, layout: Layout = "transformers"
) -> tuple[Weight, ...]:
    """Every parameter of a model, once.

    Args:
      config: the model's.
      layout: whose names.

    Returns:
      In the order of the forward pass; names as they are written.
    """
    original = layout == "original"
    text = config.text
    fused = original and not text.qkv_bias  # InternLM2; a Qwen2 decoder is not renamed
    decoder = _internlm2 if fused else _decoder
    if config.vision is None:
        return decoder(config, "")
    projector = ("layer_norm", "linear_1", "linear_2")
    prefix = "multi_modal_projector."
    if original:
        projector, prefix = ("0", "1", "3"), "mlp1."
    norm, up, down = (prefix + name for name in projector)
    return (
        *(_original_vision if original else _vision)(config),
        *_norm("projector.norm", norm),
        *_linear("projector.up", up),
        *_linear("projector.down", down),
        *decoder(config, "language_model."),
    )


def _decoder(config: ModelConfig, prefix: str) -> tuple[Weight, ...]:
    """Qwen2, Qwen3 and Llama, which are named alike in both layouts."""
    bias, untied = config.text.qkv_bias, not config.text.tied_head
    path, name = "decoder.layers", prefix + "model.layers.{layer}"
    qk_norms = (
        *_norm(f"{path}.query_norm", f"{name}.self_attn.q_norm", bias=False),
        *_norm(f"{path}.key_norm", f"{name}.self_attn.k_norm", bias=False),
    )
    return (
        _embedding(f"{prefix}model.embed_tokens.weight"),
        *_norm(f"{path}.attention_norm", f"{name}.input_layernorm", bias=False),
        *_linear(f"{path}.query", f"{name}.self_attn.q_proj", bias=bias),
        *_linear(f"{path}.key", f"{name}.self_attn.k_proj", bias=bias),
        *_linear(f"{path}.value", f"{name}.self_attn.v_proj", bias=bias),
        *(qk_norms if config.text.qk_norm else ()),
        *_linear(f"{path}.out", f"{name}.self_attn.o_proj", bias=False),
        *_norm(f"{path}.mlp_norm", f"{name}.post_attention_layernorm", bias=False),
        *_linear(f"{path}.gate", f"{name}.mlp.gate_proj", bias=False),
        *_linear(f"{path}.up", f"{name}.mlp.up_proj", bias=False),
        *_linear(f"{path}.down", f"{name}.mlp.down_proj", bias=False),
        *_norm("decoder.norm", f"{prefix}model.norm", bias=False),
        *((_head(f"{prefix}lm_head.weight"),) if untied else ()),
    )


def _internlm2(config: ModelConfig, prefix: str) -> tuple[Weight, ...]:
    """InternLM2: its queries, keys and values are packed by key-value head."""
    untied = not config.text.tied_head
    path, name = "decoder.layers", prefix + "model.layers.{layer}"
    attention = tuple(f"{path}.{part}.kernel" for part in ("query", "key", "value"))
    return (
        _embedding(f"{prefix}model.tok_embeddings.weight"),
        *_norm(f"{path}.attention_norm", f"{name}.attention_norm", bias=False),
        Weight(
            f"{name}.attention.wqkv.weight",
            attention,
            "transposed",
            groups=config.text.num_kv_heads,
        ),
        *_linear(f"{path}.out", f"{name}.attention.wo", bias=False),
        *_norm(f"{path}.mlp_norm", f"{name}.ffn_norm", bias=False),
        *_linear(f"{path}.gate", f"{name}.feed_forward.w1", bias=False),
        *_linear(f"{path}.up", f"{name}.feed_forward.w3", bias=False),
        *_linear(f"{path}.down", f"{name}.feed_forward.w2", bias=False),
        *_norm("decoder.norm", f"{prefix}model.norm", bias=False),
        *((_head(f"{prefix}output.weight"),) if untied else ()),
    )


def _vision(config: ModelConfig) -> tuple[Weight, ...]:
    bias = config.vision.qkv_bias
    path, name = "vision.layers.attention", "vision_tower.encoder.layer.{layer}"
    projections = f"{name}.attention"
    embeddings = "vision_tower.embeddings"
    return (
        Weight(f"{embeddings}.cls_token", ("vision.class_token",)),
        Weight(f"{embeddings}.position_embeddings", ("vision.positions",)),
        *_patches(f"{embeddings}.patch_embeddings.projection"),
        *_vision_norm(config, "attention_norm", f"{name}.layernorm_before"),
        *_linear(f"{path}.query", f"{projections}.q_proj", bias=bias),
        *_linear(f"{path}.key", f"{projections}.k_proj", bias=bias),
        *_linear(f"{path}.value", f"{projections}.v_proj", bias=bias),
        *_vision_qk_norms(config, projections),
        *_linear(f"{path}.out", f"{projections}.projection_layer"),
        Weight(f"{name}.lambda_1", ("vision.layers.attention_scale",)),
        *_vision_norm(config, "mlp_norm", f"{name}.layernorm_after"),
        *_linear("vision.layers.up", f"{name}.mlp.fc1"),
        *_linear("vision.layers.down", f"{name}.mlp.fc2"),
        Weight(f"{name}.lambda_2", ("vision.layers.mlp_scale",)),
    )


def _original_vision(config: ModelConfig) -> tuple[Weight, ...]:
    path, name = "vision.layers.attention", "vision_model.encoder.layers.{layer}"
    embeddings = "vision_model.embeddings"
    kernels, biases = (
        tuple(f"{path}.{part}.{kind}" for part in ("query", "key", "value"))
        for kind in ("kernel", "bias")
    )
    qkv = f"{name}.attn.qkv"
    return (
        Weight(f"{embeddings}.class_embedding", ("vision.class_token",)),
        Weight(f"{embeddings}.position_embedding", ("vision.positions",)),
        *_patches(f"{embeddings}.patch_embedding"),
        *_vision_norm(config, "attention_norm", f"{name}.norm1"),
        Weight(f"{qkv}.weight", kernels, "transposed"),
        *((Weight(f"{qkv}.bias", biases),) if config.vision.qkv_bias else ()),
        *_vision_qk_norms(config, f"{name}.attn"),
        *_linear(f"{path}.out", f"{name}.attn.proj"),
        Weight(f"{name}.ls1", ("vision.layers.attention_scale",)),
        *_vision_norm(config, "mlp_norm", f"{name}.norm2"),
        *_linear("vision.layers.up", f"{name}.mlp.fc1"),
        *_linear("vision.layers.down", f"{name}.mlp.fc2"),
        Weight(f"{name}.ls2", ("vision.layers.mlp_scale",)),
    )


def _patches(name: str) -> tuple[Weight, ...]:
    return (
        Weight(f"{name}.weight", ("vision.patch.kernel",), "patches"),
        Weight(f"{name}.bias", ("vision.patch.bias",)),
    )


def _vision_norm(config: ModelConfig, norm: str, name: str) -> tuple[Weight, ...]:
    return _norm(f"vision.layers.{norm}", name, bias=config.vision.norm == "layer_norm")


def _vision_qk_norms(config: ModelConfig, name: str) -> tuple[Weight, ...]:
    path = "vision.layers.attention"
    if not config.vision.qk_norm:
        return ()
    return (
        *_norm(f"{path}.query_norm", f"{name}.q_norm", bias=False),
        *_norm(f"{path}.key_norm", f"{name}.k_norm", bias=False),
    )


def _embedding(name: str) -> Weight:
    return Weight(name, ("decoder.embedding.embedding",), padded=True)


def _head(name: str) -> Weight:
    return Weight(name, ("decoder.lm_head.kernel",), "transposed", padded=True)


def _linear(path: str, name: str, *, bias: bool = True) -> tuple[Weight, ...]:
    kernel = Weight(f"{name}.weight", (f"{path}.kernel",), "transposed")
    return (kernel, Weight(f"{name}.bias", (f"{path}.bias",))) if bias else (kernel,)


def _norm(path: str, name: str, *, bias: bool = True) -> tuple[Weight, ...]:
    scale = Weight(f"{name}.weight", (f"{path}.scale",))
    return (scale, Weight(f"{name}.bias", (f"{path}.bias",))) if bias else (scale,)
