"""The optimizers do what Keras expects: features, loops, wrappers and callbacks."""
