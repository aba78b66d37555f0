"""Programs that the tests run in fresh processes."""
