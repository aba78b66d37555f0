"""Code that the type checkers read, and that never runs."""
