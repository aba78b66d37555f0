"""What the checks run in processes of their own."""
