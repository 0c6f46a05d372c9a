"""Texts and numbers as they are shown."""

import pytest

from sophia_jax.viz.printable import count, duration, percent, printable


def test_plain_text_stays_as_it_is():
    text = "Zeile 1\n\tx = √2 · 漢字 😀 é 👩\u200d🔬 می\u200cخواهم שלום"
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb", "a\nb"),
        ("a\rb\x00\x07\x7f", "a␍b␀␇␡"),
        ("a\u061cb\u200bc\u2028d\u2029e\ufefff", "a�b�c�d�e�f"),
        ("\x9b\u202eabc\u2066\ud800\uffff", "��abc���"),
    ],
)
def test_what_hides_or_damages_is_replaced(text, shown):
    assert printable(text) == shown


def test_what_is_cut_off_is_counted():
    assert printable("abcde", 5) == "abcde"
    assert printable("abcdef", 5) == "abcde … [1 more characters not shown]"
    assert printable("x" * 5_000).endswith("x … [1,000 more characters not shown]")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (119.7, "2 min 0 s"),
        (3_600, "1 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_durations_have_two_units(seconds, shown):
    assert duration(seconds).replace("\u00a0", " ") == shown


def test_shares_and_counts():
    assert percent(0.7125).replace("\u00a0", " ") == "71.2 %"
    assert count(1_234_567) == "1,234,567"
