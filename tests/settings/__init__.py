"""What an optimizer is told is what it does; what makes no sense is refused."""
