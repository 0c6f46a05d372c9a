"""Which pages are free, and what the others hold: equal beginnings share pages."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

from sophia_jax.generation.prompts import Prompt

__all__ = ["PagePool", "page_names"]


class PagePool:
    """Page numbers, counted by reader, and the names of what they hold.

    A page with a name stays findable after its last reader has gone, until its place
    is needed; those that were left first go first.

    Args:
      num_pages: how many there are.
    """

    def __init__(self, num_pages: int):
        self.num_pages = num_pages
        self._free = list(range(num_pages - 1, -1, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()  # named, without readers
        self._num_readers: dict[int, int] = {}
        self._page_of: dict[bytes, int] = {}
        self._name_of: dict[int, bytes] = {}

    @property
    def num_free(self) -> int:
        """Pages that can be taken."""
        return len(self._free) + len(self._idle)

    def take(self, names: Sequence[bytes | None]) -> list[int]:
        """Pages for new content, each with one reader.

        Args:
          names: of the content, or None for what nobody will look for.

        Returns:
          Page numbers; there must be as many free.
        """
        return [self._take(name) for name in names]

    def find(self, names: Sequence[bytes]) -> list[int]:
        """Pages that hold the first of these, up to one that is missing.

        Each of them has one more reader now.
        """
        found = []
        for name in names:
            if name not in self._page_of:
                break
            found.append(self._page_of[name])
        for page in found:
            self._idle.pop(page, None)
            self._num_readers[page] = self._num_readers.get(page, 0) + 1
        return found

    def leave(self, pages: Sequence[int]) -> None:
        """One reader less for each of these."""
        for page in pages:
            self._num_readers[page] -= 1
            if self._num_readers[page]:
                continue
            del self._num_readers[page]
            if page in self._name_of:
                self._idle[page] = None
            else:
                self._free.append(page)

    def _take(self, name: bytes | None) -> int:
        if self._free:
            page = self._free.pop()
        else:
            page, _ = self._idle.popitem(last=False)
            del self._page_of[self._name_of.pop(page)]
        self._num_readers[page] = 1
        if name is not None:
            self._rename(page, name)
        return page

    def _rename(self, page: int, name: bytes) -> None:
        """Where a page behind a forgotten one has the name, it gives it up."""
        former = self._page_of.get(name)
        if former is not None:
            del self._name_of[former]
            if former in self._idle:
                del self._idle[former]
                self._free.append(former)
        self._page_of[name], self._name_of[page] = page, name


def page_names(prompt: Prompt, page: int) -> list[bytes]:
    """Names of a prompt's pages: equal where all that is read up to there is equal.

    Args:
      prompt: its last token is left out, since every sample reads that itself.
      page: tokens of a page; the last page may hold fewer.

    Returns:
      The name of each page.
    """
    names, content = [], hashlib.blake2b(digest_size=16)
    num_images = 0  # image tokens so far
    for start in range(0, len(prompt.token_ids) - 1, page):
        part = slice(start, min(start + page, len(prompt.token_ids) - 1))
        content.update(len(prompt.token_ids[part]).to_bytes(4, "little"))
        content.update(prompt.token_ids[part].tobytes())
        if prompt.image_embeds is not None:
            here = slice(num_images, num_images + int(prompt.is_image[part].sum()))
            content.update(prompt.image_embeds[here].tobytes())
            num_images = here.stop
        names.append(content.copy().digest())
    return names
