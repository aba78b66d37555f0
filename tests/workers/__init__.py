"""Many processes train as one does, and go on where some were killed."""
