"""The views of a CPU are those of the matrices, whichever way they are made."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.augment import on_host, views
from tf_simclr.config import FinetuneConfig, FitConfig, PretrainConfig

FULL = PretrainConfig(brightness=1.5, blur=0.7)
WEAK = FitConfig(crop_min_area=0.3)
GREYED = FitConfig(grey=0.5)
BLURRED = FitConfig(blur=0.5, flip=1.0)
WHOLE = FitConfig(crop_min_area=1.0)
RANDAUGMENT = FinetuneConfig(augment="randaugment")
SIZES = [(32, 32, 32, 3), (20, 47, 16, 3), (50, 20, 16, 3), (28, 28, 28, 1), (9, 8, 40, 1), (1, 5, 7, 3), (6, 1, 64, 1)]


def images(count, height, width, channels):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (count, height, width, channels), np.uint8))


def expected(pixels, draws, size, policy):
    crops = views.random_crop(pixels, draws, size, policy)
    return crops if policy.augment == "randaugment" else views.recolour(crops, draws, policy)


def together(pixels, draws, size, policy):
    """Each image as a view for each of its draws, [B, V, D]."""
    with tf.device("CPU:0"):
        return on_host.make_together(pixels, on_host.prepare(draws, policy, pixels.shape[3]), size, policy)


def one_by_one(pixels, draws, size, policy):
    """Two views of every image at a time, from a graph that does not know their sizes; the draws come in pairs."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, pixels.shape[3]], tf.uint8), tf.TensorSpec([2, draws.shape[1]])])
    def make(image, own):
        numbers = tf.nest.map_structure(lambda of: of[0], on_host.prepare(own[None], policy, image.shape[2]))
        return on_host.make_one(image, numbers, size, policy)

    return tf.concat([tf.stack(make(image, own)) for image, own in zip(pixels, tf.reshape(draws, [-1, 2, draws.shape[1]]))], axis=0)


def draw(seed, count, policy):
    return views.draw(seed, tf.range(count, dtype=tf.int64), [0], policy)[:, 0]


@pytest.mark.parametrize("policy", [FULL, WEAK, GREYED, BLURRED, RANDAUGMENT], ids=["full", "weak", "greyed", "blurred", "randaugment"])
@pytest.mark.parametrize("height, width, size, channels", SIZES)
def test_views_made_together(height, width, size, channels, policy):
    pixels, draws = images(48, height, width, channels), [draw(seed, 48, policy) for seed in (1, 2)]
    made = together(pixels, tf.stack(draws, axis=1), size, policy)
    for of_view, own in zip(made, draws, strict=True):
        np.testing.assert_allclose(of_view, expected(pixels, own, size, policy), atol=2e-5)


@pytest.mark.parametrize(
    "height, width, size, channels, policy",
    [(256, 256, 224, 3, FULL), (375, 500, 224, 3, BLURRED), (90, 60, 100, 3, WEAK), (150, 70, 117, 1, FULL), (200, 300, 16, 3, FULL)]
    + [(20, 30, 28, 3, FULL), (40, 64, 20, 1, FULL)]
    + [(1, 9, 8, 3, BLURRED), (3, 70, 90, 3, WEAK), (700, 500, 96, 3, GREYED), (40, 30, 16, 3, RANDAUGMENT)]
    # A multiple of a size whose rounded reciprocal is too small, as compilers multiply by it.
    + [(454, 908, 227, 1, WHOLE)],
)
def test_views_made_one_by_one(height, width, size, channels, policy):
    draws = draw(1, 8, policy)
    pixels = images(4, height, width, channels)
    made = one_by_one(pixels, draws, size, policy)
    np.testing.assert_allclose(made, expected(tf.repeat(pixels, 2, axis=0), draws, size, policy), atol=2e-4)


def test_one_image_and_three_views():
    pixels, draws = images(1, 12, 12, 3), tf.stack([draw(seed, 1, FULL) for seed in (1, 2, 3)], axis=1)
    made = together(pixels, draws, 12, FULL)
    for view in range(3):
        np.testing.assert_allclose(made[view], expected(pixels, draws[:, view], 12, FULL), atol=2e-5)
