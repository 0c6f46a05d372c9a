"""Reward against divergence, where the best policy at each divergence is known."""
