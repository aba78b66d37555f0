"""Many processes train as one does, and resume where some were killed."""
