"""What all tests share: hypothesis profiles, and one thread for each TensorFlow."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis

hypothesis.settings.register_profile(
    "quick", max_examples=20, deadline=None, derandomize=True
)
hypothesis.settings.register_profile("thorough", max_examples=250, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
