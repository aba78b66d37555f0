"""The tests: a room for each promise; beside the rooms stands what they share."""
