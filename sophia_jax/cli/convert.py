"""`sophia-jax convert`: a model from one kind of folder to another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sophia_jax.cli.options import AnyPath, model_path
from sophia_jax.paths import (
    is_remote,
    is_whole,
    remove_tree,
    replace_tree,
    resolved,
    tree_size,
)

if TYPE_CHECKING:
    from sophia_jax.cli.progress import Display

__all__ = ["Convert"]


@dataclass(frozen=True)
class Convert:
    """Convert a model: both layouts of Hugging Face folders, and orbax checkpoints."""

    model: str
    """Folder (or owner/name on the Hugging Face Hub): of transformers, of the original
    InternVL or InternLM2 code, or an orbax checkpoint of this command."""
    out: AnyPath
    """Folder of the result; must not exist, or see --force."""
    to: Literal["transformers", "original", "orbax"]
    """What reads the result: transformers, the original InternVLChatModel (its code is
    not written), or orbax."""
    dtype: Literal["stored", "float32", "bfloat16", "float16"] = "stored"
    """Of the weights; as they are stored, bit by bit, or converted."""
    force: bool = False
    """Replace a model folder that is there."""

    @property
    def folder(self) -> Path:
        return self.out

    def run(self, display: Display) -> None:
        from sophia_jax.cli.progress import size_unit
        from sophia_jax.models.checkpoint_folder import save_checkpoint
        from sophia_jax.models.folder import (
            check_layout,
            load_model,
            save_model,
            stored_dtype,
        )

        self._check_out()
        source = model_path(self.model)
        if self.to != "orbax":
            check_layout(source, self.to)
        dtype = stored_dtype(source) if self.dtype == "stored" else self.dtype
        model = load_model(source, dtype=dtype, track=display.track)
        # In a bucket a new name takes a copy, made only where a model makes way.
        in_place = is_remote(self.out) and not self.out.exists()
        written = self.out if in_place else self.out.with_name(f".{self.out.name}.new")
        remove_tree(written)
        if self.to == "orbax":
            save_checkpoint(model, written)
        else:
            save_model(model, written, layout=self.to)
        if not in_place:
            replace_tree(self.out, written)
        unit, name = size_unit(size := tree_size(self.out))
        display.say(f"model      {self.out}, {size / unit:.1f} {name}, {self.to}")

    def _check_out(self) -> None:
        """Only a model's folder is ever replaced, and only when that is asked for."""
        from sophia_jax.types import InputError

        if not is_whole(self.out):
            return
        if not self.force:
            raise InputError(f"--out: {self.out} exists; --force replaces it")
        is_model = (self.out / "tokenizer_config.json").is_file()
        if not is_model or resolved(self.out) == resolved(self.model):
            raise InputError(
                f"--out: expected another model's folder to replace, got {self.out}"
            )
