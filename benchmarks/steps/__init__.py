"""How long one step of an optimizer takes, ours beside the built-in and peers."""
