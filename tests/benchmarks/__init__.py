"""A benchmark measures what it says, and keeps what it measured."""
