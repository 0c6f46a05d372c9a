"""How pictures are cut, as InternVL's original config.json says it."""

from __future__ import annotations

from sophia_jax.models.hf_fields import Fields
from sophia_jax.tiles import TileGeometry
from sophia_jax.types import InputError

__all__ = ["tiles_from_internvl_config"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def tiles_from_internvl_config(config: dict, where: str) -> TileGeometry:
    """The geometry of a folder in InternVL's original layout.

    Its preprocessor_config.json is that of a CLIP tower and is not used: neither by the
    original code nor here. The normalisation is ImageNet's, and nowhere configured.

    Args:
      config: the content of `config.json`.
      where: the file's name, for messages.

    Returns:
      The geometry; of exactly one tile when `dynamic_image_size` is false.

    Raises:
      InputError: a step that is not implemented, or a field out of range.

    Reference: https://github.com/OpenGVLab/InternVL, `InternVLChatConfig`, whose
      defaults hold for absent fields.
    """
    fields = Fields(config, where)
    fields.only("pad2square", False, default=False)
    forced = config.get("force_image_size") is not None
    side = (
        fields.side("force_image_size")
        if forced
        else fields.section("vision_config").side("image_size")
    )
    dynamic = fields.flag("dynamic_image_size", default=False)

    def patches(name: str, default: int) -> int:
        return fields.integer(name) if name in config else default

    try:
        return TileGeometry(
            side,
            min_tiles=patches("min_dynamic_patch", 1) if dynamic else 1,
            max_tiles=patches("max_dynamic_patch", 6) if dynamic else 1,
            use_thumbnail=fields.flag("use_thumbnail", default=False),
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
