"""A collection is cut into shards by question, all of them and each once."""

import pytest

from sophia_jax.rollouts.store import CAPTIONS, REASONINGS, SELECTION
from sophia_jax.rollouts.tables import RolloutTables, check_rows
from sophia_jax.types import InputError, Item


def questions(count):
    return tuple(
        Item(id=str(n), question="", answer="", images=()) for n in range(count)
    )


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(1, 128, 1), (4, 2, 2), (5, 2, 3), (3, 1, 3)]
)
def test_shards_hold_all_questions_once_and_in_order(tmp_path, count, size, expected):
    tables = RolloutTables(tmp_path, questions(count), questions_per_shard=size)
    assert tables.num_shards == expected
    shards = [tables.questions(shard) for shard in range(expected)]
    assert sum(shards, ()) == questions(count)
    assert max(map(len, shards)) <= size


def test_tables_are_three_folders_of_as_many_shards(tmp_path):
    tables = RolloutTables(tmp_path, questions(5), questions_per_shard=2)
    for name, schema in [
        ("captions", CAPTIONS),
        ("reasonings", REASONINGS),
        ("selection", SELECTION),
    ]:
        table = getattr(tables, name)
        assert (table.folder, table.schema) == (tmp_path / name, schema)
        assert table.missing() == [0, 1, 2]


def test_no_question_is_refused(tmp_path):
    with pytest.raises(InputError, match="items: expected at least one question, got"):
        RolloutTables(tmp_path, ())


def test_ids_that_occur_twice_are_refused(tmp_path):
    with pytest.raises(InputError, match="items: expected unique ids, got '1' 2 times"):
        RolloutTables(tmp_path, (*questions(3), questions(2)[1]))


def test_empty_shards_are_refused(tmp_path):
    with pytest.raises(ValueError, match="questions_per_shard: expected >= 1, got 0"):
        RolloutTables(tmp_path, questions(1), questions_per_shard=0)


def test_rows_in_order_pass_and_the_first_other_one_is_named():
    rows = [{"question_id": name, "caption": n} for name in "01" for n in range(2)]
    check_rows(rows, "captions", questions(2), caption=2)
    check_rows([], "captions", (), caption=2)
    with pytest.raises(InputError) as caught:
        check_rows(rows, "captions", questions(3), caption=2)
    assert str(caught.value) == (
        "captions: expected question_id, caption = ('2', 0), got None; the table is of "
        "other questions or other settings"
    )
