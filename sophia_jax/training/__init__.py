"""One update step, the loop around it, and what is kept of both."""
