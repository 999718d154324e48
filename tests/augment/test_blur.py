import numpy as np
import oracles
import pytest
import tensorflow as tf

from tf_simclr.augment import blur
from tf_simclr.augment.random import uniform


@pytest.mark.parametrize("size, channels, radius", [(12, 3, 1), (40, 1, 2)])
def test_equals_a_cut_gaussian(size, channels, radius):
    images = np.random.default_rng(0).random((3, size, size, channels), np.float32)
    sigmas = [0.1, 0.7, 2.0]
    out = blur.blur(tf.constant(images), tf.constant(sigmas))
    for result, image, sigma in zip(out, images, sigmas):
        np.testing.assert_allclose(result, oracles.blur(image, sigma, radius), atol=1e-5)


def test_no_blur_leaves_the_image_alone():
    images = tf.random.stateless_uniform([2, 8, 8, 3], [1, 2])
    np.testing.assert_array_equal(blur.blur(images, tf.zeros([2])), images)


def test_distribution_of_sigma():
    sigma = blur.sample_sigma(uniform(1, tf.range(20_000, dtype=tf.int64), 0, blur.DRAWS), 0.5).numpy()
    blurred = sigma[sigma > 0]
    assert abs(len(blurred) / len(sigma) - 0.5) < 0.015
    assert 0.1 <= blurred.min() < 0.11 and 1.99 < blurred.max() < 2
    assert abs(blurred.mean() - 1.05) < 0.03
