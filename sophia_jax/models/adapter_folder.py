"""Adapters from and to folders in the layout of the PEFT library."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from sophia_jax.config import LoraConfig, LoraTarget, ModelConfig
from sophia_jax.models.adapters import with_adapters
from sophia_jax.models.internvl import abstract_params
from sophia_jax.models.model import Model, check_merged
from sophia_jax.models.safetensors import (
    TensorHeader,
    read_file_headers,
    read_json,
    read_tensor,
    write_file,
)
from sophia_jax.models.weight_table import weight_table
from sophia_jax.models.weights import READABLE, file_names, on_host
from sophia_jax.paths import as_path, is_whole, whole_folder, write_whole
from sophia_jax.sharding.together import is_first, wait_for_all
from sophia_jax.types import InputError

__all__ = ["load_adapters", "save_adapters"]

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
SUFFIXES = {"a": ".lora_A.weight", "b": ".lora_B.weight"}

# What would make an adapter compute something else than alpha / rank A B.
PLAIN = {
    "bias": "none",
    "use_rslora": False,
    "use_dora": False,
    "fan_in_fan_out": False,
    "lora_bias": False,
    "modules_to_save": None,
    "trainable_token_indices": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "layer_replication": None,
}

# The same of what older versions of PEFT do not know, and of how training began: with
# other values it has changed the weights beside the adapters.
PLAIN_WHERE_READ = {
    "init_lora_weights": (True, False, "gaussian"),
    "alora_invocation_tokens": (None,),
    "use_qalora": (False,),
}


class _Tensor(NamedTuple):
    """One layer's matrix of one adapter: `module` is what it adapts, as files name it.

    In the file it is transposed, as torch keeps what multiplies from the right.
    """

    target: LoraTarget
    layer: int
    kind: str
    module: str

    @property
    def name(self) -> str:
        return self.module + SUFFIXES[self.kind]


def save_adapters(model: Model, path: str | Path, *, base: str = "") -> None:
    """Write a model's adapters as the PEFT library does, which reads them too.

    The folder appears when it is complete, or not at all. Of several processes the
    first one writes, and all must call this: each returns when the folder is there.

    Args:
      model: with adapters.
      path: of a folder that does not exist yet.
      base: folder or repository of the model that they were trained on.

    Raises:
      InputError: there is something at `path`, or it cannot be written.
      ValueError: the model has no adapters.

    Reference: https://huggingface.co/docs/peft/developer_guides/checkpoint.
    """
    if model.lora is None:
        raise ValueError("model: expected one with adapters, got one without")
    target = as_path(path)
    if is_whole(target):
        raise InputError(f"{target}: expected a folder that does not exist, got one")
    wait_for_all(f"a look at {target.name}")  # or one would see what another wrote
    tensors = dict(_to_peft(model))  # of which each process has a share
    if is_first():
        _write(tensors, _settings(model, base), target)
    wait_for_all(f"the folder {target.name}")


def _write(
    tensors: dict[str, np.ndarray], settings: dict[str, Any], target: Path
) -> None:
    try:
        with whole_folder(target) as folder:
            write_file(tensors, folder / WEIGHTS)
            config = json.dumps(settings, indent=2)
            write_whole(folder / CONFIG, config + "\n")
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error})") from error


def load_adapters(model: Model, path: str | Path) -> Model:
    """A model with the adapters of a folder in the layout of the PEFT library.

    Which matrices have adapters follows from the tensors; of those, all layers must.

    Args:
      model: without adapters: the one that they were trained on.
      path: of the folder.

    Returns:
      The model, its adapters in float32; its other weights are the given model's.

    Raises:
      InputError: they are not plain low-rank adapters of this model's decoder; the
        message names all that does not fit.
      ValueError: the model has adapters already.
    """
    check_merged(model)
    folder = as_path(path)
    settings = read_json(folder / CONFIG)
    headers = read_file_headers(folder / WEIGHTS)
    names = _usual_names(headers, model.config)
    targets = tuple(
        target
        for target in get_args(LoraTarget)
        if any(tensor.name in names for tensor in _tensors(model.config, (target,)))
    )
    lora, problems = _lora_config(settings, targets)
    problems += _mismatches(model.config, targets, settings.get("r"), names, headers)
    if problems:
        raise InputError(f"{folder}: {'; '.join(problems)}")
    return with_adapters(model, lora, _read(model.config, lora, names, headers))


def _tensors(config: ModelConfig, targets: tuple[LoraTarget, ...]) -> Iterator[_Tensor]:
    """Every tensor of adapters, by the names of `weight_table`."""
    modules = {weight.paths[0]: weight.name for weight in weight_table(config)}
    for target, layer in itertools.product(targets, range(config.text.num_layers)):
        name = modules[f"decoder.layers.{target}.kernel"].format(layer=layer)
        for kind in SUFFIXES:
            yield _Tensor(target, layer, kind, name.removesuffix(".weight"))


def _in_memory(config: ModelConfig, module: str) -> str:
    """What transformers calls a module in memory, which is what PEFT writes."""
    if config.vision is None:
        return module
    return module.replace("language_model.model.", "model.language_model.")


def _to_peft(model: Model) -> Iterator[tuple[str, np.ndarray]]:
    host = jax.tree.map(on_host, model.params["adapters"])
    for tensor in _tensors(model.config, model.lora.targets):
        matrix = host[tensor.target][tensor.kind][tensor.layer].T
        name = PREFIX + _in_memory(model.config, tensor.module)
        yield name + SUFFIXES[tensor.kind], np.ascontiguousarray(matrix)


def _settings(model: Model, base: str) -> dict[str, Any]:
    """What PEFT needs to know; its names are ends of paths, or one pattern of them."""
    config, lora = model.config, model.lora
    modules = [tensor.module for tensor in _tensors(config, lora.targets)]
    names: Any = sorted({module.rpartition(".")[2] for module in modules})
    if config.vision is not None:  # whose tower has modules of the same names
        names = rf".*\blanguage_model\.layers\.\d+\.\w+\.({'|'.join(names)})"
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": names,
        "lora_dropout": 0.0,
        "inference_mode": True,
    } | PLAIN


def _usual_names(
    headers: Mapping[str, TensorHeader], config: ModelConfig
) -> dict[str, str]:
    """From the names of `_tensors` to the file's own, whichever spelling it has."""
    without = {name.removeprefix(PREFIX): name for name in headers}
    return {usual: without[name] for usual, name in file_names(config, without).items()}


def _lora_config(
    settings: dict[str, Any], targets: tuple[LoraTarget, ...]
) -> tuple[LoraConfig | None, list[str]]:
    """What the settings mean, if they mean something that is implemented; and why not.

    What is absent or null is what PEFT takes for it, the plain value.
    """
    usual = {name: (plain,) for name, plain in PLAIN.items()} | PLAIN_WHERE_READ
    problems = [
        f"{CONFIG}: {name}: expected {' or '.join(map(json.dumps, plain))}, got "
        f"{settings[name]!r}"
        for name, plain in usual.items()
        if settings.get(name) not in (None, *plain)
    ]
    if settings.get("peft_type") != "LORA":
        kind = settings.get("peft_type")
        problems.append(f"{CONFIG}: peft_type: expected LORA, got {kind!r}")
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    for name, value, kinds in (("r", rank, int), ("lora_alpha", alpha, int | float)):
        if not isinstance(value, kinds) or isinstance(value, bool) or not value > 0:
            problems.append(f"{CONFIG}: {name}: expected a number > 0, got {value!r}")
    if not targets:
        problems.append(f"{WEIGHTS}: expected adapters of the decoder, got none")
    if problems:
        return None, problems
    return LoraConfig(rank, float(alpha), targets), []


def _mismatches(
    config: ModelConfig,
    targets: tuple[LoraTarget, ...],
    rank: Any,
    names: Mapping[str, str],
    headers: Mapping[str, TensorHeader],
) -> list[str]:
    """One phrase for each tensor that is missing, not expected or misshapen."""
    kernels = abstract_params(config)["decoder"]["layers"]
    problems, known = [], set()
    for tensor in _tensors(config, targets):
        known.add(tensor.name)
        if tensor.name not in names:
            problems.append(f"{tensor.name} is missing")
            continue
        header = headers[names[tensor.name]]
        _, inputs, outputs = kernels[tensor.target]["kernel"].shape
        shape = (rank, inputs) if tensor.kind == "a" else (outputs, rank)
        if header.shape != shape:
            problems.append(
                f"{tensor.name}: expected shape {shape}, got {header.shape}"
            )
        if header.dtype not in READABLE:
            rule = " or ".join(READABLE)
            problems.append(f"{tensor.name}: expected {rule}, got {header.dtype}")
    return problems + [
        f"{names[name]} is not expected" for name in sorted(names.keys() - known)
    ]


def _read(
    config: ModelConfig,
    lora: LoraConfig,
    names: Mapping[str, str],
    headers: Mapping[str, TensorHeader],
) -> dict:
    """The adapters' parameters, layers stacked."""
    layers: dict[LoraTarget, dict[str, list]] = {}
    for tensor in _tensors(config, lora.targets):
        name = names[tensor.name]
        matrix = read_tensor(name, headers[name]).astype(np.float32).T
        of_target = layers.setdefault(tensor.target, {"a": [], "b": []})
        of_target[tensor.kind].append(matrix)
    return {
        target: {kind: jnp.asarray(np.stack(each)) for kind, each in kinds.items()}
        for target, kinds in layers.items()
    }
