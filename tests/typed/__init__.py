"""What the type checkers read, and nobody runs."""
