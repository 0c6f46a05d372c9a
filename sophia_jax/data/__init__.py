"""Questions, pictures, prompts and packed batches."""
