"""Every test sees 8 virtual CPU devices; set before JAX is imported anywhere."""

import gc
import os

import hypothesis
import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# A busy machine is no failure.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="module", autouse=True)
def _garbage_collection_skips_what_earlier_modules_left() -> None:
    """Freezes all objects: with those of JAX and TensorFlow, searching for garbage takes most of the time of a test."""
    gc.collect()
    gc.freeze()
