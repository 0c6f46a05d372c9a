"""Results as lines and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.markup import escape
from rich.table import Table

__all__ = [
    "alignment_table",
    "answers_line",
    "changed_lines",
    "evaluation_table",
    "judge_line",
    "on_policy_line",
    "rollout_line",
    "score_table",
    "seconds_line",
    "versus_table",
]

PARTS = {"by_kind": "subject", "by_level": "level", "by_answer_type": "answer type"}
MOST_CHANGED = 10  # questions that are shown of those won, and of those lost


def score_table(scores: Mapping[str, dict]) -> Table:
    """pass@1 of each model beside the others.

    Args:
      scores: by the model's name, what `summarize` returns.

    Returns:
      A table with one row for each model.
    """
    table = Table()
    columns = ("pass@1", "95 % interval", "questions", "captions right", "mean tokens")
    table.add_column("model")
    for name in columns:
        table.add_column(name, justify="right")
    for name, score in scores.items():
        low, high = score["interval"]
        captions = score["caption_accuracy"]
        table.add_row(
            name,
            f"{score['pass@1']:.1%}",
            f"{low:.1%} to {high:.1%}",
            str(score["num_questions"]),
            "-" if captions is None else f"{captions:.1%}",
            f"{score['mean_tokens']:.1f}",
        )
    return table


def evaluation_table(model: str, summary: Mapping) -> Table:
    """The scores of an evaluation, over all questions and over parts of them.

    Args:
      model: its name.
      summary: what `summarize` returns.

    Returns:
      A table with one row for each score, and for each subject, level and answer type.
    """
    table = Table(title=model, title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("score", "95 % interval", "questions"):
        table.add_column(name, justify="right")
    scores = summary["intervals"]
    for name in scores:
        table.add_row(*_score_cells(name, name, summary))
    if summary["caption_accuracy"] is not None:
        table.add_row("captions right", f"{summary['caption_accuracy']:.1%}")
    for field, part in PARTS.items():
        parts = summary.get(field, {})
        if set(parts) in (set(), {""}):
            continue
        table.add_section()
        for name, score in parts.items():
            for each in scores:
                words = f"{part}: {name or '(none)'}"
                label = words if len(scores) == 1 else f"{words}, {each}"
                table.add_row(*_score_cells(label, each, score))
    return table


def _score_cells(label: str, name: str, score: Mapping) -> tuple[str, ...]:
    low, high = score["intervals"][name]
    return (
        escape(label),
        f"{score[name]:.1%}",
        f"{low:.1%} to {high:.1%}",
        str(score["num_questions"]),
    )


def answers_line(summary: Mapping, max_new_tokens: int) -> str:
    """What became of the answers that are behind the scores."""
    total = summary["num_questions"] * summary["num_samples"]
    return (
        f"answers    {total}: {summary['parsed']:.1%} with an answer to judge, "
        f"{summary['cut_off']} cut off at {max_new_tokens} tokens, "
        f"{summary['undecided']} undecided; {summary['mean_tokens']:.1f} tokens each"
    )


def judge_line(judge: Mapping) -> str:
    """What a judge said, how well, and what it cost."""
    found = judge["concordance"]
    quality = "" if found is None else f"; a right answer beats a wrong one {found:.1%}"
    bias = judge.get("position_bias", {}).get("first")
    bias = "" if bias is None else f"; the first of two preferred {bias:.1%}"
    return (
        f"judge      {judge['scored']} answers scored, {judge['missing']} without a "
        f"score, {judge['not_asked']} cut off{quality}{bias}; {judge['calls']} calls, "
        f"{judge['retries']} of them again, {judge['prompt_tokens']} + "
        f"{judge['completion_tokens']} tokens"
    )


def versus_table(compared: Mapping) -> Table:
    """Two runs on the same questions.

    Args:
      compared: what `sophia_jax.evaluation.versus.versus` returns.

    Returns:
      A table with one row for all questions and one for each subject.
    """
    table = Table()
    table.add_column("pass@1")
    for name in ("first", "second", "change", "95 % interval", "p", "won", "lost"):
        table.add_column(name, justify="right", no_wrap=True)
    kinds = compared["by_kind"]
    rows = {"all": compared} | (kinds if set(kinds) != {""} else {})
    for index, (name, score) in enumerate(rows.items()):
        low, high = score["interval"]
        table.add_row(
            escape(name or "(none)"),
            f"{score['first']:.1%}",
            f"{score['second']:.1%}",
            f"{score['difference']:+.1%}",
            f"{low:+.1%} to {high:+.1%}",
            f"{score['p_value']:.2g}",
            *(f"{score[count]}" for count in ("won", "lost")),
            end_section=index == 0,
        )
    return table


def changed_lines(compared: Mapping) -> Iterator[str]:
    """The questions that score differently: those most won first, and most lost."""
    changed = compared["changed"]
    won = [each for each in changed if each["second"] > each["first"]]
    lost = [each for each in changed if each["second"] < each["first"]]
    lost.sort(key=lambda each: each["second"] - each["first"])
    for word, questions in (("won", won), ("lost", lost)):
        shown = ", ".join(each["question_id"] for each in questions[:MOST_CHANGED])
        more = len(questions) - MOST_CHANGED
        if questions:
            yield f"{word:<10} {shown}" + (f", and {more} more" if more > 0 else "")


def alignment_table(looks: Mapping) -> Table:
    """Held-out pairs before and after an alignment.

    Args:
      looks: `before` and `after`, each as `measure_pairs` returns it, and
        `intervals_after`.

    Returns:
      A table with one row for each number.
    """
    table = Table()
    table.add_column("held-out pairs")
    for name in ("before", "after", "95 % interval"):
        table.add_column(name, justify="right")
    for name in looks["after"]:
        interval = looks["intervals_after"].get(name)
        cells = [f"{looks[when][name]:.4g}" for when in ("before", "after")]
        if interval is not None:
            cells.append(f"{interval[0]:.4g} to {interval[1]:.4g}")
        if name != "step":
            table.add_row(name.replace("_", " "), *cells)
    return table


def rollout_line(rollouts: Mapping) -> str:
    """What a collection came to."""
    return (
        f"rollouts   {rollouts['captions']} captions, {rollouts['reasonings']} "
        f"reasonings, {rollouts['right']} right; kept {rollouts['kept']} of "
        f"{rollouts['num_questions']} questions"
    )


def on_policy_line(learnt: Mapping) -> str:
    """What an on-policy run came to, at its beginning and at its end."""
    first, last = learnt["first_steps"], learnt["last_steps"]
    return (
        f"grpo       {learnt['num_steps']} steps, {learnt['updates']} updates; mean "
        f"reward {first['reward']:.3f} -> {last['reward']:.3f}, questions dropped "
        f"{first['dropped']:.1%} -> {last['dropped']:.1%}, tokens an answer "
        f"{first['answer_tokens']:.1f} -> {last['answer_tokens']:.1f}"
    )


def seconds_line(seconds: Mapping[str, float]) -> str:
    """Where the time went."""
    return "seconds    " + ", ".join(f"{k} {v:.0f}" for k, v in seconds.items())
