"""The programs of the processes."""
