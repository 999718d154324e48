import itertools

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.augment import colour
from tf_simclr.augment.random import uniform
from tf_simclr.config import PretrainConfig

NAMES = ("brightness", "contrast", "saturation", "hue")
COUNT = 20_000


def factors(batch, order=(0, 1, 2, 3), grey=False, **given):
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0, **given}
    tensors = {name: tf.fill([batch], tf.constant(value, tf.float32)) for name, value in neutral.items()}
    return {**tensors, "order": tf.tile(tf.constant([order]), [batch, 1]), "grey": tf.fill([batch], grey)}


def images(low=0.0, high=1.0, channels=3):
    return tf.constant(np.random.default_rng(0).uniform(low, high, (2, 6, 5, channels)), tf.float32)


def reference(name, x, value):
    """The operation that a factor stands for, from TensorFlow or Addons."""
    if name == "brightness":
        return x * value
    if name == "contrast":
        return tf.image.adjust_contrast(x, value)
    yiq = pytest.importorskip("tensorflow_addons").image.adjust_hsv_in_yiq
    return yiq(x, scale_saturation=value) if name == "saturation" else yiq(x, delta_hue=2 * np.pi * value)


@pytest.mark.parametrize(
    "name, value",
    [("brightness", 0.3), ("brightness", 1.7), ("contrast", 0.4), ("contrast", 1.8), ("saturation", 0.2), ("saturation", 1.7)]
    + [("hue", 0.2), ("hue", -0.15)],
)
def test_each_operation_equals_its_reference(name, value):
    x = images()
    expected = np.clip(reference(name, x, value), 0, 1)
    # Addons rounds the YIQ matrices to three digits, and inverts one of them by hand.
    np.testing.assert_allclose(colour.distort(x, factors(2, **{name: value})), expected, atol=2e-3 if name in NAMES[2:] else 1e-5)


def test_grey_equals_rgb_to_grayscale():
    x = images()
    expected = tf.image.grayscale_to_rgb(tf.image.rgb_to_grayscale(x))
    np.testing.assert_allclose(colour.distort(x, factors(2, grey=True)), expected, atol=1e-5)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_composition_equals_one_operation_after_the_other(order):
    x = images(0.4, 0.6)  # so that nothing is clipped on the way
    values = {"brightness": 1.15, "contrast": 1.3, "saturation": 0.7, "hue": 0.1}
    expected = x
    for step in order:
        expected = reference(NAMES[step], expected, values[NAMES[step]])
    np.testing.assert_allclose(colour.distort(x, factors(2, order, **values)), expected, atol=2e-3)


def test_every_image_has_its_own_order_and_factors():
    x = images()
    one, other = factors(1, (0, 1, 2, 3), brightness=0.5, contrast=1.5), factors(1, (1, 0, 3, 2), brightness=1.2, hue=0.2)
    both = {name: tf.concat([one[name], other[name]], axis=0) for name in one}
    expected = tf.concat([colour.distort(x[:1], one), colour.distort(x[1:], other)], axis=0)
    np.testing.assert_allclose(colour.distort(x, both), expected, atol=1e-6)


def test_grey_images_have_brightness_and_contrast_only():
    x = images(channels=1)
    expected = np.clip(tf.image.adjust_contrast(x * 0.8, 1.4), 0, 1)
    out = colour.distort(x, factors(2, brightness=0.8, contrast=1.4, saturation=0.1, hue=0.2, grey=True))
    np.testing.assert_allclose(out, expected, atol=1e-5)


def sample(policy):
    draws = uniform(1, tf.range(COUNT, dtype=tf.int64), 0, colour.DRAWS)
    return {name: value.numpy() for name, value in colour.sample_factors(draws, policy).items()}


def test_distribution_of_factors():
    got = sample(PretrainConfig(jitter=0.8, brightness=0.4, contrast=1.5, saturation=0.8, hue=0.2, grey=0.2))
    jittered = got["brightness"] != 1
    assert abs(jittered.mean() - 0.8) < 0.015 and abs(got["grey"].mean() - 0.2) < 0.015
    bounds = {"brightness": (0.6, 1.4), "contrast": (0.0, 2.5), "saturation": (0.2, 1.8), "hue": (-0.2, 0.2)}
    for name, (low, high) in bounds.items():
        values, span = got[name][jittered], high - low
        assert low - 1e-6 <= values.min() < low + 0.01 * span and high - 0.01 * span < values.max() <= high + 1e-6, name
        assert abs(values.mean() - (low + high) / 2) < 0.01 * span, name
        assert np.all(got[name][~jittered] == (0 if name == "hue" else 1)), name
    orders, counts = np.unique(got["order"], axis=0, return_counts=True)
    assert len(orders) == 24 and np.abs(counts / COUNT - 1 / 24).max() < 0.006


def test_no_jitter_changes_nothing():
    x = images()
    policy = PretrainConfig(jitter=0.0, grey=0.0)
    few = {name: tf.constant(value[:2]) for name, value in sample(policy).items()}
    np.testing.assert_allclose(colour.distort(x, few), x, atol=1e-6)
