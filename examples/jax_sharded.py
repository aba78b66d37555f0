"""Split a model over the devices of JAX, save it in its parts, and resume.

    python examples/jax_sharded.py build/sharded

The kernels are split by columns along the axis `model`; so are Adam's slots, which are
created beside them, and no process ever holds all of either. Here eight devices are
threads of one processor; on a machine with eight GPUs remove the `XLA_FLAGS`.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import keras
import numpy as np

from keras_textbook_opt import Adam

WIDTH, CLASSES, EXAMPLES = 256, 10, 8_192


def distribution() -> keras.distribution.ModelParallel:
    """Batches in two parts; each half of the devices has the model in four."""
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((2, 4), ["batch", "model"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*/hidden_./kernel"] = (None, "model")
    layout[".*/hidden_./bias"] = ("model",)
    return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def make_model() -> keras.Model:
    hidden = [
        keras.layers.Dense(WIDTH, activation="relu", name=f"hidden_{k}") for k in (1, 2)
    ]
    logits = keras.layers.Dense(CLASSES, name="logits")
    # Orbax finds values by the names of the model and of the optimizer.
    model = keras.Sequential([*hidden, logits], name="classifier")
    model.build((None, 32))
    model.compile(
        Adam(1e-3, clipnorm=1.0, name="adam"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def examples() -> tuple[np.ndarray, np.ndarray]:
    """Points, and the nearest of ten centres as their class."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(CLASSES, 32))
    classes = random.integers(CLASSES, size=EXAMPLES)
    x = centres[classes] + 1.5 * random.normal(size=(EXAMPLES, 32))
    return x.astype("float32"), classes


def main(folder: str) -> None:
    keras.utils.set_random_seed(0)
    keras.distribution.set_distribution(distribution())
    x, y = examples()
    model = make_model()
    save = keras.callbacks.OrbaxCheckpoint(os.path.abspath(folder))
    model.fit(x, y, batch_size=256, epochs=3, verbose=2, callbacks=[save])

    again = make_model()
    again.optimizer.build(again.trainable_variables)
    again.load_weights(os.path.abspath(folder))
    slot = again.optimizer.get_slot(again.layers[0].kernel, "m").value
    print(f"m beside a kernel of {slot.shape}: {slot.addressable_shards[0].data.shape}")
    print(f"resumes after step {int(again.optimizer.iterations)}")
    again.fit(x, y, batch_size=256, epochs=2, verbose=2)


if __name__ == "__main__":
    main(sys.argv[1])
