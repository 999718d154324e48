import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, Conv, SupervisedHead


@pytest.mark.parametrize("shape", [(7, 3), (4, 2, 3, 3)], ids=str)
def test_batch_norm_normalises_and_keeps_the_biased_variance(shape):
    x = np.random.default_rng(0).normal(2, 3, shape).astype(np.float32)
    layer = BatchNorm()
    y = layer(x, training=True)
    axes = tuple(range(len(shape) - 1))
    mean, variance = x.mean(axes), x.var(axes)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance, rtol=1e-5)


def test_batch_norm_uses_the_moving_statistics_in_inference():
    layer = BatchNorm()
    layer.build([None, 2])
    layer.moving_mean.assign([1.0, 2.0])
    layer.moving_variance.assign([4.0, 9.0])
    np.testing.assert_allclose(layer(tf.constant([[3.0, 5.0]])), [[1.0, 1.0]], atol=1e-5)
    np.testing.assert_array_equal(layer.moving_mean, [1.0, 2.0])


def test_batch_norm_without_offset_and_with_zero_gamma():
    assert [v.name for v in _built(BatchNorm(center=False)).trainable_variables] == ["gamma:0"]
    assert not np.any(_built(BatchNorm(zero_gamma=True)).gamma)


def test_batch_norm_keeps_float32_statistics_under_mixed_precision():
    layer = BatchNorm(dtype=tf.keras.mixed_precision.Policy("mixed_bfloat16"))
    x = tf.constant([[1.0, 2.0], [3.0, 6.0]])
    assert layer(x, training=True).dtype == tf.bfloat16
    assert layer(x, training=False).dtype == tf.bfloat16
    assert layer.moving_mean.dtype == tf.float32
    np.testing.assert_allclose(layer.moving_mean, [0.2, 0.4], rtol=1e-5)


def test_the_classifier_starts_at_zero():
    np.testing.assert_array_equal(SupervisedHead(3)(tf.ones([2, 4])), np.zeros([2, 3]))


def _built(layer):
    layer.build([None, 2])
    return layer


@pytest.mark.parametrize("channels", [4, 16])
def test_a_strided_pointwise_convolution_has_the_right_gradients(channels):
    """Against plain products: oneDNN's own strided 1×1 returns a wrong gradient of the kernel for few channels."""
    random = np.random.default_rng(0)
    x, up = random.normal(size=(64, 7, 8, channels)).astype("f"), random.normal(size=(64, 4, 4, 8)).astype("f")
    conv = Conv(8, 1, 2)
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        y = conv(images)
        loss = tf.reduce_sum(y * up)
    picked = x[:, ::2, ::2]
    np.testing.assert_allclose(y, picked @ conv.conv.kernel.numpy()[0, 0], atol=1e-5)
    of_kernel, of_images = tape.gradient(loss, (conv.conv.kernel, images))
    np.testing.assert_allclose(of_kernel[0, 0], np.einsum("bhwc,bhwd->cd", picked, up), atol=1e-3)
    expected = np.zeros_like(x)
    expected[:, ::2, ::2] = up @ conv.conv.kernel.numpy()[0, 0].T
    np.testing.assert_allclose(of_images, expected, atol=1e-5)
