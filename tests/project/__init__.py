"""What the project says of itself is so: its pages, types, archives and tests."""
