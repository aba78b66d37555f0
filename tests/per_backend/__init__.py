"""What a backend does in its own way is the same step, and wants no other backend."""
