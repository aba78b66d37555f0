"""Programs that the checks run in their own processes."""
