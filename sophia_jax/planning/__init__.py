"""Whether a run fits on a slice, and how fast it can be, without the slice."""
