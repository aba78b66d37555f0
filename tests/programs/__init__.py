"""What the tests run in fresh processes."""
