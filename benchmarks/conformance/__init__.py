"""Which promises of a Keras optimizer the optimizers of Keras and others keep."""
