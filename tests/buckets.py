"""A stand-in for Google's object store, at the layer of the file system alone.

It is as strict as the real one: an object appears when it is closed; there are no
folders, but names that begin alike; nothing is appended to, mapped, or renamed as a
folder; and no bucket is made in passing. It remembers no listing.
"""

import io
import shutil
from pathlib import Path

import fsspec

FORBIDDEN = "forbidden"  # a bucket that is there, and lets nobody in


class Killed(BaseException):
    """The process has been killed: nothing reaches the bucket any more."""


class Upload(io.BytesIO):
    """An object that appears when it is closed, even half-written, as gcsfs has it."""

    def __init__(self, commit):
        super().__init__()
        self.commit = commit

    def close(self):
        if not self.closed:
            self.commit(self.getvalue())
        super().close()


class Buckets(fsspec.AbstractFileSystem):
    """Objects in a folder `root`, whose own folders are buckets.

    Attributes:
      writes_left: until the process is killed; None for never.
      read: bytes that were sent to readers, by object.
    """

    protocol = ("gs", "gcs")
    cachable = False
    root = None
    writes_left = None
    read = {}

    def _place(self, path):
        path = self._strip_protocol(path)
        if path.split("/")[0] == FORBIDDEN:
            raise OSError(f"Forbidden: {path}\nno storage.objects.list access")
        if type(self).writes_left == 0:
            raise Killed
        return type(self).root / path

    def _changes(self, path):
        """The place of an object that is to be changed."""
        place = self._place(path)
        if type(self).writes_left is not None:
            type(self).writes_left -= 1
            if type(self).writes_left == 0:
                raise Killed
        bucket = type(self).root / self._strip_protocol(path).split("/")[0]
        if not bucket.is_dir():
            raise FileNotFoundError(path)
        return place

    def _write(self, path, content):
        place = self._changes(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)

    @classmethod
    def place(cls, path):
        """Where an object stands on the disk."""
        return str(cls.root / cls._strip_protocol(path))

    def info(self, path, **_):
        place = self._place(path)
        name = place.relative_to(type(self).root).as_posix()
        if place.is_file():
            return {"name": name, "size": place.stat().st_size, "type": "file"}
        objects = (each for each in place.rglob("*") if each.is_file())
        if place.parent == type(self).root and place.is_dir() or any(objects):
            return {"name": name, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path, detail=True, **_):
        found = self.info(path)
        if found["type"] == "file":
            entries = [found]
        else:
            names = [f"{found['name']}/{each.name}" for each in self._sorted(path)]
            entries = [self.info(name) for name in names if self.exists(name)]
        return entries if detail else [entry["name"] for entry in entries]

    def _sorted(self, path):
        return sorted(self._place(path).iterdir())

    def _open(self, path, mode="rb", **_):
        if mode == "wb":
            return Upload(lambda content: self._write(path, content))
        if mode != "rb":
            raise NotImplementedError(f"an object is not opened with {mode}")
        return io.BytesIO(self.cat_file(path))

    def cat_file(self, path, start=None, end=None, **_):
        place = self._place(path)
        if not place.is_file():
            raise FileNotFoundError(path)
        content = place.read_bytes()[start:end]
        name = place.name
        type(self).read[name] = type(self).read.get(name, 0) + len(content)
        return content

    def put_file(self, lpath, rpath, **_):
        self._write(rpath, Path(lpath).read_bytes())

    def cp_file(self, path1, path2, **_):
        self._write(path2, self.cat_file(path1))

    def mv(self, path1, path2, **_):
        if self.isdir(path1):
            raise NotImplementedError("a folder of objects is not renamed")
        self.cp_file(path1, path2)
        self.rm_file(path1)

    rename = mv

    def rm_file(self, path):
        self._changes(path).unlink()

    def rm(self, path, recursive=False, **_):
        if self.info(path)["type"] == "file":
            self.rm_file(path)
        elif recursive:
            shutil.rmtree(self._changes(path))
        else:
            raise IsADirectoryError(path)

    def makedirs(self, path, exist_ok=False):
        self.mkdir(path)

    def mkdir(self, path, create_parents=True, **_):
        if not self._place(self._strip_protocol(path).split("/")[0]).is_dir():
            raise AssertionError(f"{path}: a bucket would have been made")
