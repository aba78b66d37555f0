"""What an optimizer keeps: beside which variable, and in which file."""
