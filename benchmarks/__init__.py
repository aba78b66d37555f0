"""Experiments and timings that need more time than a test may take."""

INTERRUPTED = 130
