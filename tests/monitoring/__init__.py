"""What a step shows to whoever watches is what the step did."""
