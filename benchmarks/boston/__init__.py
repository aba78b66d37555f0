"""The chapter's experiments on Boston housing, ours beside the built-in."""
