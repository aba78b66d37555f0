"""The state of an optimizer: in memory, in a file, and from one to the other."""
