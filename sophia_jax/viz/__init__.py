"""A run folder as one HTML page; needs the extra `viz`."""
