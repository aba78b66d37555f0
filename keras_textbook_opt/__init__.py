"""Three optimizers for Keras 3 that read like the page of a textbook."""

from importlib.metadata import version

from keras_textbook_opt.adam import Adam
from keras_textbook_opt.layerwise import layerwise_decay
from keras_textbook_opt.momentum import Momentum
from keras_textbook_opt.monitor import OptimizerMonitor
from keras_textbook_opt.optimizer import TextbookOptimizer
from keras_textbook_opt.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "Momentum",
    "OptimizerMonitor",
    "TextbookOptimizer",
    "__version__",
    "layerwise_decay",
]
__version__ = version("keras-textbook-opt")
