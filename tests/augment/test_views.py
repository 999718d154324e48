import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.augment import blur, colour, crop
from tf_simclr.augment.random import uniform
from tf_simclr.augment.views import DRAWS, make_view
from tf_simclr.config import FinetuneConfig, FitConfig, PretrainConfig

POLICY = PretrainConfig(brightness=1.5)  # strong enough to clip


def batch(count, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, 20, 24, channels), np.uint8)


def view(images, positions, seed=1, number=0, policy=POLICY):
    return make_view(images, tf.constant(positions, tf.int64), seed=seed, view=number, size=16, policy=policy).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_views_lie_between_0_and_1_and_have_the_shape_asked_for(channels):
    views = view(batch(64, channels), range(64))
    assert views.shape == (64, 16, 16, channels) and views.dtype == np.float32
    assert views.min() == 0 and views.max() == 1


def test_a_view_does_not_depend_on_its_batch():
    images = batch(5)
    np.testing.assert_allclose(view(images, [4, 8, 15, 16, 23])[2:3], view(images[2:3], [15]), atol=1e-6)


def test_seed_position_and_number_make_another_view():
    images = batch(1)
    base = view(images, [3])
    np.testing.assert_array_equal(view(images, [3]), base)
    for other in (view(images, [3], seed=2), view(images, [4]), view(images, [3], number=1)):
        assert np.abs(other - base).max() > 0.01


def test_a_graph_makes_the_same_views():
    images = batch(4)
    traced = tf.function(lambda x, p: make_view(x, p, seed=1, view=0, size=16, policy=POLICY))
    np.testing.assert_allclose(traced(images, tf.range(4, dtype=tf.int64)), view(images, range(4)), atol=1e-6)


def test_each_part_gets_its_own_draws():
    images, positions = batch(8), tf.range(8, dtype=tf.int64)
    draws = uniform(1, positions, 0, DRAWS)
    own = tf.split(draws, [crop.DRAWS, colour.DRAWS, blur.DRAWS], axis=1)
    boxes, flips = crop.sample_boxes(own[0], tf.fill([8], 20.0), tf.fill([8], 24.0), 16, POLICY.crop_min_area, POLICY.flip)
    expected = blur.blur(crop.crop_resize_flip(images, boxes, flips, 16), blur.sample_sigma(own[2], POLICY.blur))
    expected = colour.distort(expected, colour.sample_factors(own[1], POLICY))
    np.testing.assert_allclose(view(images, range(8)), expected, atol=1e-6)


def test_the_weak_policy_crops_and_flips_only():
    weak = FitConfig(crop_min_area=1.0, flip=1.0)
    square = batch(2)[:, :, :20]
    expected = tf.image.flip_left_right(tf.image.resize(square, [16, 16])) / 255
    np.testing.assert_allclose(view(square, [0, 1], policy=weak), expected, atol=1e-5)


@pytest.mark.parametrize(
    "augment, same",
    [
        ("custom", FitConfig(crop_min_area=0.5)),
        ("crop_flip", FitConfig(crop_min_area=0.5)),
        ("simclr", PretrainConfig(crop_min_area=0.5, brightness=0.4)),
    ],
)
def test_a_named_policy_is_what_its_probabilities_say(augment, same):
    named = FinetuneConfig(augment=augment, crop_min_area=0.5, brightness=0.4)
    images = batch(8)
    np.testing.assert_array_equal(view(images, range(8), policy=named), view(images, range(8), policy=same))
