"""What is printed of scores, in words and numbers."""

import io

from rich.console import Console

from sophia_jax.cli.tables import (
    answers_line,
    changed_lines,
    evaluation_table,
    versus_table,
)


def printed(table):
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return console.file.getvalue()


def scores(value, num_questions):
    interval = {"pass@1": [value - 0.1, value + 0.1], "majority@4": [0.0, 1.0]}
    return {
        "pass@1": value,
        "majority@4": 0.25,
        "num_questions": num_questions,
        "intervals": interval,
    }


SUMMARY = {
    **scores(0.5, 40),
    "num_samples": 4,
    "caption_accuracy": None,
    "parsed": 0.875,
    "cut_off": 3,
    "undecided": 1,
    "mean_tokens": 812.34,
    "by_kind": {"[bold]geometry": scores(0.4, 30), "": scores(0.8, 10)},
    "by_answer_type": {"integer": scores(0.5, 40)},
}


def test_each_score_of_each_part_has_a_row_with_its_interval():
    lines = printed(evaluation_table("model", SUMMARY)).splitlines()

    def row(label):
        (line,) = [line for line in lines if label in line]
        return [cell.strip() for cell in line.split("│")[2:-1]]

    assert row("│ pass@1 ") == ["50.0%", "40.0% to 60.0%", "40"]
    assert row("│ majority@4 ") == ["25.0%", "0.0% to 100.0%", "40"]
    # What a file says is shown as it is, not as markup.
    assert row("subject: [bold]geometry, pass@1") == ["40.0%", "30.0% to 50.0%", "30"]
    assert row("subject: (none), pass@1")[0] == "80.0%"
    assert row("answer type: integer, majority@4")[2] == "40"
    assert "captions" not in "".join(lines)


def test_a_single_unnamed_subject_is_no_part():
    text = printed(evaluation_table("m", SUMMARY | {"by_kind": {"": scores(0.5, 40)}}))
    assert "subject" not in text


def test_what_became_of_the_answers_is_counted():
    assert answers_line(SUMMARY, 16384) == (
        "answers    160: 87.5% with an answer to judge, 3 cut off at 16384 tokens, "
        "1 undecided; 812.3 tokens each"
    )


def changed(name, first, second):
    return {"question_id": name, "first": first, "second": second}


def test_the_questions_that_changed_most_are_named_and_the_others_counted():
    gains = [changed(f"g{n}", 0.0, 1.0) for n in range(12)]
    compared = {"changed": [*gains, changed("l1", 0.5, 0.25), changed("l2", 1.0, 0.0)]}
    won, lost = changed_lines(compared)
    assert won == f"won        {', '.join(f'g{n}' for n in range(10))}, and 2 more"
    assert lost == "lost       l2, l1"
    assert list(changed_lines({"changed": []})) == []


def test_a_comparison_is_readable_on_eighty_columns():
    whole = {
        "first": 0.099,
        "second": 0.16,
        "difference": 0.061,
        "interval": (-0.01, 0.112),
        "p_value": 0.0321,
        "won": 40,
        "lost": 22,
    }
    text = printed(versus_table(whole | {"by_kind": {"algebra": whole}}))
    assert text.count("  9.9% │  16.0% │  +6.1% │ -1.0% to +11.2% │ 0.032 │  40") == 2
    assert "…" not in text
