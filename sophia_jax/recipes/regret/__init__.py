"""Regret of agents in MDPs that never end: curves, switches, and what was believed."""
