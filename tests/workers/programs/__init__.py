"""What each of many processes runs."""
