"""The time of a training step and of the update in it, ours beside the built-in."""
