import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models import convolution
from tf_simclr.models.layers import Conv

SHAPES = [(3, 1, 7), (3, 2, 9), (3, 2, 8), (5, 1, 4), (7, 2, 13), (3, 1, 1)]  # kernel, stride, pixels a side


def gradients(function, *tensors):
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = function(*tensors)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) * tf.cos(tf.reshape(tf.range(tf.size(y), dtype=tf.float32), y.shape)))
    return [y, *tape.gradient(loss, tensors)]


@pytest.mark.parametrize("size, stride, pixels", SHAPES, ids=str)
def test_its_gradients_are_those_of_the_convolution(size, stride, pixels):
    random = np.random.default_rng(0)
    x, kernel = (tf.constant(random.normal(size=shape), tf.float32) for shape in ((6, pixels, pixels, 3), (size, size, 3, 5)))
    padding = "SAME" if stride == 1 else "VALID"
    wanted = gradients(lambda x, kernel: tf.nn.conv2d(x, kernel, stride, padding), x, kernel)
    for mine, theirs in zip(gradients(lambda x, kernel: convolution.convolve(x, kernel, stride), x, kernel), wanted):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("jit, taken", [(False, True), (True, False)], ids=["kernels of the CPU", "compiled by XLA"])
def test_a_layer_in_bfloat16_has_the_same_gradients_within_it(stride, jit, taken, monkeypatch):
    layer = Conv(8, 3, stride, dtype="mixed_bfloat16")
    x = tf.random.stateless_normal([4, 8, 8, 3], seed=[1, 2])
    layer(x)
    kernel = layer.conv.kernel

    def gradient():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(x), tf.float32) ** 2)
        return tape.gradient(loss, kernel).numpy()

    wanted, calls = gradient(), []
    monkeypatch.setattr(convolution, "convolve", lambda *args, original=convolution.convolve: calls.append(args) or original(*args))
    with convolution.kernel_gradients(jit):
        found = gradient()
    assert bool(calls) is taken
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())
    gradient()
    assert len(calls) == taken  # not outside
