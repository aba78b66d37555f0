"""Settings have their effect, and invalid ones are refused."""
