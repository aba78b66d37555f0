"""A step is the step of the equation, whatever its dtype, shape and features."""
