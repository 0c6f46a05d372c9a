"""Results as lines and tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

__all__ = ["rollout_line", "score_table", "seconds_line"]


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


def rollout_line(rollouts: Mapping) -> str:
    """What a collection came to."""
    return (
        f"rollouts   {rollouts['captions']} captions, {rollouts['reasonings']} "
        f"reasonings, {rollouts['right']} right; kept {rollouts['kept']} of "
        f"{rollouts['num_questions']} questions"
    )


def seconds_line(seconds: Mapping[str, float]) -> str:
    """Where the time went."""
    return "seconds    " + ", ".join(f"{k} {v:.0f}" for k, v in seconds.items())
