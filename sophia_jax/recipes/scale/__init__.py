"""Inference with a judge in Bayesian regression: simulation beside theory."""
