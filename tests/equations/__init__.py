"""A step is the step of the equation, for every dtype, shape and feature."""
