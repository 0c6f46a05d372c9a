"""What was paid for is found again, however many processes there are now."""

import pytest

from sophia_jax.generation.journal import Journal
from sophia_jax.generation.replies import Reply
from sophia_jax.recipes import journals


@pytest.fixture
def be(monkeypatch):
    """Makes this process one of several."""

    def be(index, count):
        monkeypatch.setattr(journals, "are_several", lambda: count > 1)
        monkeypatch.setattr(journals, "process_index", lambda: index)
        monkeypatch.setattr(journals, "process_count", lambda: count)

    return be


def journal(folder):
    return Journal(
        journals.my_journal(folder, "easy"),
        find_earlier=lambda: journals.earlier_journals(folder, "easy"),
    )


def answer(folder, key):
    counts = {"answers": 1, "completion_tokens": 5}
    journal(folder).write(counts, key=key, reply=Reply(key, "stop", None, counts))


def test_answers_of_another_number_of_processes_are_found(tmp_path, be):
    for index in range(2):
        be(index, 2)
        answer(tmp_path, f"of {index}")
    be(0, 1)
    assert journal(tmp_path).recall({"of 0", "of 1", "new"}).keys() == {"of 0", "of 1"}
    answer(tmp_path, "alone")
    for index in range(3):
        be(index, 3)
        key = ("of 0", "of 1", "alone")[index]
        assert journal(tmp_path).recall({key})[key].text == key


def test_a_process_reads_no_journal_that_another_one_writes(tmp_path, be):
    be(1, 2)
    answer(tmp_path, "of 1")
    be(0, 2)
    assert journals.earlier_journals(tmp_path, "easy") == []
    assert journal(tmp_path).recall({"of 1"}) == {}


def test_earlier_answers_are_kept_when_others_are_asked_for(tmp_path, be):
    be(0, 2)
    answer(tmp_path, "first")
    be(0, 1)
    ours = journal(tmp_path)
    assert ours.recall({"second"}) == {}
    assert ours.recall({"first"}).keys() == {"first"}


def test_what_all_processes_have_asked_is_counted(tmp_path, be):
    for count in (1, 2, 3):
        for index in range(count):
            be(index, count)
            answer(tmp_path, f"{index} of {count}")
    assert journals.count_all(tmp_path, "easy") == {
        "answers": 6,
        "completion_tokens": 30,
    }
    assert not journals.count_all(tmp_path, "hard")


def test_what_an_answer_could_have_begun_with_comes_back_with_it(tmp_path, be):
    be(0, 1)
    first = (("yes", -0.25), (" no", -1.5))
    reply = Reply("yes", "stop", (-0.25,), {"answers": 1}, first)
    journal(tmp_path).write({"answers": 1}, key="asked", reply=reply)
    assert journal(tmp_path).recall({"asked"})["asked"] == reply
