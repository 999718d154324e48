"""Two logical CPUs, so that every test of two replicas runs on any machine; must precede TensorFlow's start."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# First, because it chooses Keras 2 for TensorFlow.
import tf_simclr  # noqa: E402, F401

# isort: split
import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
