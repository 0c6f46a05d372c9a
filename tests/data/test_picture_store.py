"""Pictures are unpacked once, under their own hash, whole or not at all."""

import hashlib
import os

import pytest

from sophia_jax.data.picture_store import PictureStore, picture_suffix
from sophia_jax.types import InputError


def test_a_picture_is_written_once_under_its_hash(tmp_path, forms):
    store, content = PictureStore(tmp_path), forms.encode(0)
    path = store.path_of("image", content)
    name = hashlib.sha256(content).hexdigest()
    assert path == str(tmp_path / name[:2] / f"{name}.png")
    written = os.stat(path).st_mtime_ns
    assert store.path_of("image", content) == path
    assert os.stat(path).st_mtime_ns == written
    assert store.sizes == {path: len(content)}
    assert store.line().startswith(f"pictures   1 unpacked to {tmp_path}, ")


def test_a_damaged_file_is_written_again(tmp_path, forms):
    content = forms.encode(0)
    path = PictureStore(tmp_path).path_of("image", content)
    with open(path, "wb") as file:
        file.write(content[:10])
    PictureStore(tmp_path).path_of("image", content)
    with open(path, "rb") as file:
        assert file.read() == content


@pytest.mark.parametrize(
    ("suffix", "ending"),
    [
        ("PNG", ".png"),
        ("JPEG", ".jpg"),
        ("GIF", ".gif"),
        ("BMP", ".bmp"),
        ("TIFF", ".tif"),
        ("WEBP", ".webp"),
    ],
)
def test_the_ending_follows_from_the_bytes(suffix, ending, forms):
    assert picture_suffix(forms.encode(0, suffix=suffix)) == ending


def test_what_is_no_picture_is_refused_and_not_written(tmp_path):
    with pytest.raises(InputError, match=r"image: expected a PNG, .*, got b'<svg>'"):
        PictureStore(tmp_path).path_of("image", b"<svg>")
    assert list(tmp_path.iterdir()) == []


def test_a_broken_off_writing_leaves_nothing(tmp_path, monkeypatch, forms):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        PictureStore(tmp_path).path_of("image", forms.encode(0))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_default_is_beside_the_kept_programs(home):
    store = PictureStore()
    assert store.folder == home / ".cache" / "sophia_jax" / "pictures"
