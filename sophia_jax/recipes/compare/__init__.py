"""The paper's ablation table in small: many ways to learn from the same rollouts."""
