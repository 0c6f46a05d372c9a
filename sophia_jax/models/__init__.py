"""InternVL and Qwen2.5-type models in Flax NNX, with a functional edge."""
