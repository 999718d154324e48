"""What makes views of small images quick; what they are is in test_on_host."""

import os
import subprocess
import sys

import numpy as np
import tensorflow as tf

from tf_simclr.augment import by_lines, on_host, views
from tf_simclr.config import PretrainConfig

POLICY = PretrainConfig(blur=0.0)


def operations():
    """What XLA makes of two views each of 256 images."""
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), np.uint8))
    numbers = on_host.prepare(views.draw(1, tf.range(256, dtype=tf.int64), [0, 1], POLICY), POLICY, 3)

    @tf.function(jit_compile=True, autograph=False)
    def make(images, boxes, colour):
        return by_lines.make_views(images, {"boxes": boxes, "colour": colour}, 32, views.crops_of(POLICY))

    with tf.device("CPU:0"):
        return make.experimental_get_compiler_ir(images, numbers["boxes"], numbers["colour"])(stage="optimized_hlo")


def test_steps_are_neither_merged_nor_shared_among_cores(monkeypatch):
    shared = "outer_dimension_partitions"  # what XLA notes at an operation that threads share
    found = operations()
    assert found.count(" conditional(") == 1 + 2 * 7
    assert shared not in found
    monkeypatch.setattr(by_lines, "_step", lambda always, function, *tensors: function(*tensors))
    found = operations()
    assert " conditional(" not in found
    assert (shared in found) == (len(os.sched_getaffinity(0)) > 1 and tf.__version__ < "2.16")  # later ones do not note it


def test_compiling_says_nothing():
    program = """
import tf_simclr
import tensorflow as tf
from tf_simclr.augment import on_host, views
from tf_simclr.config import FitConfig
numbers = on_host.prepare(views.draw(1, tf.range(2, dtype=tf.int64), [0], FitConfig()), FitConfig(), 1)
print(on_host.make_together(tf.zeros([2, 8, 8, 1], tf.uint8), numbers, 8, FitConfig())[0].shape)
"""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("(2, 8, 8, 1)\n"), done.stderr
    assert "XLA" not in done.stderr and "log messages" not in done.stderr
