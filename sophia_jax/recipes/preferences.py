"""The pairs that a policy is aligned with: where from, and which are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sophia_jax.data.good_rows import ItemFile
from sophia_jax.data.images import count_tiles
from sophia_jax.data.packing import Example
from sophia_jax.data.preferences import Preference
from sophia_jax.data.prompts import encode_prompt, encode_target
from sophia_jax.models.model import Model
from sophia_jax.models.tokenizer import token_counter
from sophia_jax.recipes.collection import Rollouts, read_rollouts
from sophia_jax.recipes.leak_check import drop_leaks
from sophia_jax.recipes.questions import keep_fitting, read_questions
from sophia_jax.rollouts.pairs import MinedPair, MiningConfig, mine_pairs
from sophia_jax.seeds import group_seed
from sophia_jax.types import InputError, Item, Track, untracked

__all__ = [
    "Pairs",
    "digest_pairs",
    "fitting_pairs",
    "hold_out",
    "mined_pairs",
    "plain_examples",
    "question_names",
    "read_pairs",
]


@dataclass(frozen=True)
class Pairs:
    """Preferences, each of which fits into the policy's context.

    Attributes:
      preferences: with ids of their own.
      mined: where each stands in a run's tables, in the same order; empty for others.
      skipped: one line for each row that was left out.
    """

    preferences: tuple[Preference, ...]
    mined: tuple[MinedPair, ...]
    skipped: tuple[str, ...]


def read_pairs(
    source: str,
    *,
    limit: int | None = None,
    exclude: Sequence[str] = (),
    skip_bad_rows: bool = False,
    track: Track = untracked,
    say: Callable[[str], None] = print,
) -> Pairs:
    """Preferences of a source, in any form that `read_source` knows.

    Args:
      source: of rows as of `make_preference`.
      limit: how many are taken at most; None for all.
      exclude: benchmarks whose questions and pictures are left out.
      skip_bad_rows: leave bad rows out and list them, instead of refusing the source.
      track: shows how many rows and pictures were read.
      say: prints a line about what was unpacked or left out.

    Raises:
      InputError: the source or a benchmark cannot be used.
    """
    reading = {"skip_bad_rows": skip_bad_rows, "track": track, "say": say}
    found = read_questions(source, limit=limit, use="prefer", **reading)
    found = drop_leaks(found, exclude, source, **reading)
    return Pairs(found.items, (), found.skipped)


def mined_pairs(
    run: Path,
    policy: Model,
    *,
    num_pairs: int = 1,
    threshold: float | None = None,
    cut_off: bool = False,
    seed: int = 0,
) -> Pairs:
    """Right against wrong reasonings of a run's questions, as of `mine_pairs`.

    Args:
      run: folder of a collection, or of the quickstart.
      policy: in whose tokens lengths are counted; its weights are not needed.
      num_pairs: the most of a question.
      threshold: that a caption must exceed; None for the run's own.
      cut_off: whether a reasoning that reached the length limit counts as wrong.
      seed: of the draws.

    Raises:
      InputError: the run has no whole rollouts, or no pair is in them.
    """
    rollouts = read_rollouts(run)
    tables, sophia = rollouts.tables, rollouts.sophia
    config = MiningConfig(
        num_captions=sophia.num_captions,
        num_reasonings=sophia.num_reasonings,
        threshold=sophia.threshold if threshold is None else threshold,
        num_pairs=num_pairs,
        cut_off=cut_off,
        seed=seed,
    )
    mined = tuple(_mine_all(rollouts, policy, config))
    if not mined:
        raise InputError(
            f"{tables.reasonings.folder}: expected right and wrong reasonings of one "
            f"question under captions above {config.threshold:g}, got none in "
            f"{len(tables.items)} questions; a lower threshold lets more captions pass"
        )
    return Pairs(tuple(pair.preference for pair in mined), mined, ())


def _mine_all(
    rollouts: Rollouts, policy: Model, config: MiningConfig
) -> Iterator[MinedPair]:
    """The pairs of all shards, of which one is in memory at a time."""
    tables, count_tokens = rollouts.tables, token_counter(policy)
    for shard in range(tables.num_shards):
        items, reasonings = tables.questions(shard), tables.reasonings.read(shard)
        yield from mine_pairs(items, reasonings, count_tokens, rollouts.prompts, config)


def fitting_pairs(
    policy: Model,
    pairs: Pairs,
    where: str | Path,
    *,
    row_length: int | None = None,
    skip_bad_rows: bool = False,
) -> Pairs:
    """The pairs of which both members fit; nothing is ever cut off.

    Args:
      policy: that learns; its weights are not needed.
      pairs: as read or mined.
      where: they come from, for messages.
      row_length: tokens of a packed row; None for no limit but the policy's context.
      skip_bad_rows: leave the others out and list them, instead of refusing.

    Raises:
      InputError: a pair does not fit; with skip_bad_rows, none does.
    """

    def check(item: Item) -> None:
        if item.images and policy.tiles is None:
            raise InputError(
                f"image: expected none for a text-only policy, got {item.images[0]}"
            )
        longest = max(example.length for example in _plain(policy, item))
        if row_length is not None and longest > row_length:
            raise InputError(
                f"prompt: expected at most row_length={row_length} tokens with its "
                f"answer, got {longest}"
            )

    fitting = keep_fitting(
        ItemFile(pairs.preferences, pairs.skipped),
        [check],
        where,
        skip_bad_rows=skip_bad_rows,
    )
    ids = {item.id for item in fitting.items}
    mined = tuple(pair for pair in pairs.mined if pair.preference.id in ids)
    return Pairs(fitting.items, mined, fitting.skipped)


def hold_out(
    preferences: Sequence[Preference], share: float, *, seed: int
) -> list[bool]:
    """Which pairs are never learnt from: whole questions, by lot.

    Pairs of one question about the same pictures are on one side, however often it
    stands in the data. The lot of a question depends on nothing but the seed and it.

    Args:
      preferences: all pairs.
      share: of the questions that is held out, in [0, 1); 0 for none.
      seed: of the lot.

    Returns:
      For each pair whether it is held out; at least one is and one is not, if share
      is positive.

    Raises:
      InputError: there is one question only.
      ValueError: share is out of its range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"held_out: expected in [0, 1), got {share}")
    if not share:
        return [False] * len(preferences)
    names = question_names(preferences)
    lots = {name: group_seed(seed, 0, "held-out", name) for name in names}
    if len(lots) < 2:
        raise InputError(
            f"held_out: expected two questions at least to hold one out, got "
            f"{len(lots)}"
        )
    number = min(max(1, round(share * len(lots))), len(lots) - 1)
    out = set(sorted(lots, key=lots.__getitem__)[:number])
    return [name in out for name in names]


def question_names(preferences: Sequence[Preference]) -> list[str]:
    """Equal for pairs of one question about the same pictures."""
    return [
        "\x1f".join((each.question, *(Path(image).name for image in each.images)))
        for each in preferences
    ]


def plain_examples(
    policy: Model, preferences: Sequence[Preference]
) -> tuple[list[Example], list[tuple[str, ...]]]:
    """Chosen and rejected in turn, without pictures; and the paths of these."""
    plain = [each for item in preferences for each in _plain(policy, item)]
    return plain, [item.images for item in preferences for _ in range(2)]


def _plain(policy: Model, item: Preference) -> tuple[Example, Example]:
    """(pictures, question) -> chosen and -> rejected, under one prompt."""
    chosen = encode_target(policy.tokenizer, item.answer)
    rejected = encode_target(policy.tokenizer, item.rejected)
    if not item.rejected_ended:
        rejected = rejected[:-1]
    prompt_ids = encode_prompt(
        policy.tokenizer,
        policy.config,
        item.question,
        system=item.system,
        tiles_per_image=count_tiles(policy.tiles, item.images),
        max_new_tokens=max(len(chosen), len(rejected)),
    )
    return Example(prompt_ids, chosen), Example(prompt_ids, rejected)


def digest_pairs(preferences: Sequence[Preference]) -> str:
    """A fingerprint of the pairs, for runs that go on after a file has changed."""
    hashed = hashlib.sha256()
    for item in preferences:
        fields = (item.id, item.system, item.question, item.answer, item.rejected)
        hashed.update(repr((*fields, item.rejected_ended)).encode())
    return hashed.hexdigest()
