"""Whole runs, built from the parts."""
