"""Data sets as TFDS builders: written as array_record, read without TensorFlow."""
