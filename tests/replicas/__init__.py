"""Two replicas in one process do what one device does."""
