"""No text ends its script element, no page is larger than it may be, and it is said."""

import json

import pytest
from PIL import Image

from sophia_jax.viz.embedding import PER_BLOCK, as_script, embed
from sophia_jax.viz.entries import Branch, Entry, EntrySet, Leaf


def entry(name, *, text="text", kept=False, pictures=(), **labels):
    leaves = (Leaf("right", "a note", text, 1, kept), Leaf("wrong", "a note", "no", 1))
    return Entry(
        name=name,
        question=f"What is {name}?",
        answer="7",
        pictures=tuple(pictures),
        lost=0,
        status="kept",
        good=True,
        words="",
        labels=labels,
        branches=(Branch("Caption 1", "said", leaves=leaves),),
    )


def entries(*them, name="questions", total=None):
    return EntrySet(name, len(them) if total is None else total, iter(them))


def details(embedded):
    blocks = [b for name, b in embedded.blocks.items() if name.startswith("questions")]
    return [each for block in blocks for each in json.loads(block)]


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "-->", "]]>", "&lt;", "<SCRIPT>"]
)
def test_no_text_opens_or_ends_a_tag(text):
    script = as_script([text, {text: text}])
    assert not set(script) & set("<>&")
    assert json.loads(script) == [text, {text: text}]


def test_every_question_can_be_found_again():
    many = [entry(f"q{n}", level=str(n % 3)) for n in range(2 * PER_BLOCK + 1)]
    embedded = embed([entries(*many)])
    index = json.loads(embedded.index)
    assert list(embedded.blocks) == ["questions-0", "questions-1", "questions-2"]
    assert [row["key"] for row in index["rows"]] == [each.name for each in many]
    assert [row["question"] for row in details(embedded)] == [e.question for e in many]
    labels = [index["words"][row["labels"][1]] for row in index["rows"]]
    assert index["filters"] == ["questions", "level"] and labels[:4] == list("0120")


def test_names_that_come_twice_have_addresses_of_their_own():
    sets = [entries(entry("a"), name="one"), entries(entry("a"), entry("a (2)"))]
    rows = json.loads(embed(sets).index)["rows"]
    assert [row["key"] for row in rows] == ["a", "a (2)", "a (2) (2)"]


def test_a_label_that_a_question_lacks_is_none():
    index = json.loads(embed([entries(entry("a", kind="x"), entry("b"))]).index)
    assert [row["labels"][1] for row in index["rows"]][1] == -1


def test_texts_that_do_not_fit_are_counted_and_each_set_has_a_share():
    long = "x" * 3_000
    sets = [
        entries(*(entry(f"{part}{n}", text=long, kept=True) for n in range(100)))
        for part in "ab"
    ]
    embedded = embed(sets, max_mib=0.1)
    names = [row["key"] for row in json.loads(embedded.index)["rows"]]
    assert embedded.total == 200 and embedded.shown == len(names) < 40
    assert abs(sum(name[0] == "a" for name in names) - len(names) / 2) <= 1
    assert sum(map(len, embedded.blocks.values())) < 0.1 * 2**20
    first = [name for name in names if name[0] == "a"]
    assert first == [f"a{n}" for n in range(len(first))]


def test_what_one_set_leaves_goes_to_the_next():
    long = "x" * 3_000
    second = (entry(f"b{n}", text=long, kept=True) for n in range(30))
    embedded = embed([entries(entry("a")), EntrySet("b", 30, second)], max_mib=0.1)
    assert embedded.shown == 1 + 30  # in 0.1 MiB, at somewhat over 3 kB each


def bytes_of(embedded):
    return sum(len(b.encode()) for b in (embedded.index, *embedded.blocks.values()))


def test_names_titles_and_labels_take_of_the_room_too():
    many = (
        entry(f"{n:04}" + "é" * 290, text="", kind=f"{n}" + "<" * 290)
        for n in range(1_000)
    )
    embedded = embed([EntrySet("questions", 1_000, many)], max_mib=0.25)
    assert 0.8 * 2**18 < bytes_of(embedded) <= 2**18
    assert 0 < embedded.shown < 1_000


def test_texts_leave_room_for_pictures_where_there_are_some(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), "red").save(path)
    plain, pictured = (
        entries(
            *(entry(f"q{n}", text="x" * 3_000, kept=True, **more) for n in range(90))
        )
        for more in ({}, {"pictures": [path]})
    )
    plain, pictured = (embed([each], max_mib=0.1) for each in (plain, pictured))
    assert 0.95 < bytes_of(plain) / (0.1 * 2**20) <= 1
    assert 0.55 < bytes_of(pictured) / (0.1 * 2**20) <= 0.6
    assert plain.shown > 1.5 * pictured.shown


def test_numbers_that_json_does_not_know_are_null():
    numbers = [float("nan"), {"a": (float("inf"), -1.5)}, True]
    assert json.loads(as_script(numbers)) == [None, {"a": [None, -1.5]}, True]


def test_a_text_that_was_not_kept_is_cut_where_there_are_many_and_says_so():
    long = "x" * 3_000
    embedded = embed([entries(entry("a", text=long), total=10_000)], max_mib=1)
    (found,) = details(embedded)
    assert found["texts"][0] == f"{'x' * 400} … [2,600 more characters not shown]"
    kept = embed([entries(entry("a", text=long, kept=True), total=10_000)], max_mib=1)
    assert details(kept)[0]["texts"][0] == long


def test_equal_pictures_are_in_the_page_once(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, color in zip(paths, ("red", "red", "blue"), strict=True):
        Image.new("RGB", (8, 8), color).save(path)
    many = [entry(str(n), pictures=[path]) for n, path in enumerate(paths)]
    embedded = embed([entries(*many)])
    rows = json.loads(embedded.index)["rows"]
    assert [row["pictures"] for row in rows] == [[0], [0], [1]]
    assert len(json.loads(embedded.blocks["pictures-0"])) == 2
    assert embedded.without_picture == 0


def test_pictures_that_do_not_fit_are_counted(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(6)]
    for number, path in enumerate(paths):
        Image.effect_noise((90, 90), 50 + number).save(path)  # about 8 kB each
    many = [entry(str(n), pictures=[path]) for n, path in enumerate(paths)]
    embedded = embed([entries(*many)], max_mib=0.03)
    rows = json.loads(embedded.index)["rows"]
    shown = [bool(row["pictures"]) for row in rows]
    assert shown == sorted(shown, reverse=True) and 0 < sum(shown) < 6
    assert embedded.without_picture == 6 - sum(shown)
    assert sum(map(len, embedded.blocks.values())) < 0.03 * 2**20


def test_a_picture_that_cannot_be_read_is_not_counted_as_one_without_room(tmp_path):
    (tmp_path / "x.png").write_text("secret")
    embedded = embed([entries(entry("a", pictures=[tmp_path / "x.png"]))])
    assert embedded.without_picture == 0 and "secret" not in str(embedded)
