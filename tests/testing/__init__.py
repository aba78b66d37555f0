"""The checker finds what is wrong and names it, and accuses nobody who is right."""
