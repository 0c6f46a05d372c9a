"""Sampling from a model: groups of completions that share their prompt."""
