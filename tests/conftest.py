"""How TensorFlow is started for the tests, and fixtures for any of them."""

import gc
import os

import pytest

import tf_simclr  # noqa: F401  Before TensorFlow, which no other conftest loads sooner than this one: it chooses Keras 2.

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def pytest_configure(config):
    """Starts TensorFlow, before any test module does; not in a process that leaves the tests to workers, which would wait for it."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        return
    gc.disable()
    import tensorflow as tf

    # Two logical CPUs, so that every test of two replicas runs on any machine.
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    # Without TensorFlow's graph optimizer, a fifth of a stage's time; the shorter suite and all processes that tests start have it.
    if config.option.markexpr != "smoke":
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    # Tests trace much and compute little. What is imported here stays, and looking through it for garbage is an eighth of a stage's time.
    gc.freeze()
    gc.enable()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session")
def two_replicas():
    """A strategy of two replicas on two logical CPUs.

    Reduced on one device: collective operations of a second CPU strategy in one process would meet those of the first.
    """
    import tensorflow as tf

    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())


@pytest.fixture
def short_resnet(monkeypatch):
    """`tiny.shorten`, for tests that need any network, soon."""
    import tiny

    tiny.shorten(monkeypatch)


@pytest.fixture(scope="module")
def short_resnet_throughout():
    """`short_resnet` for a whole module, its fixtures included."""
    import tiny

    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched)
        yield
