"""Scoring a model on held-out questions."""
