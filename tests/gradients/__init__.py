"""Every gradient that Keras produces, dense or sparse, gives the right step."""
