"""Experiments and timings that take longer than a test may."""
