"""What Keras has works on these optimizers, in its loops and as it says."""
