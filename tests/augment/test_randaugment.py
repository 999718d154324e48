"""RandAugment: KerasCV's operations and strengths, our draws."""

import keras_cv
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from scipy import ndimage, stats

from tf_simclr.augment import randaugment
from tf_simclr.augment.random import uniform
from tf_simclr.augment.views import make_view
from tf_simclr.config import FinetuneConfig

MAGNITUDE = 0.4
NAMES = ("auto_contrast", "equalize", "solarize", "colour", "contrast", "brightness", "shear_x", "shear_y", "translate_x", "translate_y")
POLICY = FinetuneConfig(augment="randaugment")


def images(count, channels=3, size=16):
    """float32 [count, size, size, channels], whole numbers in 20–219, so that contrast can be stretched; smooth along the rows."""
    pixels = np.random.default_rng(0).integers(20, 120, (count, size, size, channels)) + np.linspace(0, 100, size)[:, None]
    return np.floor(pixels).astype(np.float32)


def uniforms(count, columns, seed=1):
    return uniform(seed, tf.range(count, dtype=tf.int64), 0, columns)


def view(pixels, positions, seed=1, policy=POLICY):
    return make_view(pixels, tf.constant(positions, tf.int64), seed=seed, view=0, size=16, policy=policy).numpy()


@pytest.fixture(scope="module")
def operations():
    return randaugment.operations(MAGNITUDE, 3)


# Each operation


def normal(mean, stddev, high, draw):
    return np.clip(stats.norm.ppf(draw, mean, stddev), 0, high)


def by_pillow(operation, image):
    channels = [np.asarray(operation(Image.fromarray(np.uint8(image[..., c])))) for c in range(image.shape[-1])]
    return np.stack(channels, axis=-1)


def warp(image, matrix=((1, 0), (0, 1)), offset=(0, 0)):
    """Takes every pixel (row, column) from matrix @ (row, column) + offset."""
    channels = [ndimage.affine_transform(image[..., c], matrix, offset, order=1, mode="reflect") for c in range(image.shape[-1])]
    return np.stack(channels, axis=-1)


def reference(name, image, a, b):
    """An operation on one image for the draws a and b, in plain NumPy and SciPy."""
    m, spread, size = MAGNITUDE, 0.15, image.shape[0]
    if name == "auto_contrast":
        return by_pillow(ImageOps.autocontrast, image)
    if name == "solarize":
        brighter = np.clip(image + normal(110 * m, 110 * spread, 110, a), 0, 255)
        return np.where(brighter < normal(255 * (1 - m), 255 * spread, 255, b), brighter, 255 - brighter)
    if name == "colour":
        grey = image @ [0.2989, 0.5870, 0.1140]
        return image + normal(m, spread, 1, a) * (grey[..., None] - image)
    if name == "contrast":
        return np.clip(tf.image.adjust_contrast(image, 1 - m + 2 * m * a), 0, 255)
    if name == "brightness":
        return np.clip(image + 255 * m * (2 * a - 1), 0, 255)
    sheared, shift = normal(m, spread, 1, a) * (-1 if b > 0.5 else 1), size * m * (2 * a - 1)
    return {
        "shear_x": lambda: warp(image, matrix=((1, 0), (sheared, 1))),
        "shear_y": lambda: warp(image, matrix=((1, sheared), (0, 1))),
        "translate_x": lambda: warp(image, offset=(0, -shift)),
        "translate_y": lambda: warp(image, offset=(-shift, 0)),
    }[name]()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "equalize"])
def test_each_operation_equals_its_reference(operations, name):
    apply, sample = operations[name]
    pixels, draws = images(6), uniforms(6, 2)
    out = apply(tf.constant(pixels), sample(draws))
    expected = np.stack([reference(name, image, a, b) for image, (a, b) in zip(pixels, draws.numpy())])
    assert np.abs(expected - pixels).max() > 20
    np.testing.assert_allclose(out, expected, atol=1.0 if name == "auto_contrast" else 0.02)  # Pillow has whole numbers


@pytest.mark.parametrize("channels", [1, 3])
def test_equalize_equals_the_layer_and_leaves_flat_images(channels):
    pixels = np.concatenate(
        [images(4, channels, 40), np.full((1, 40, 40, channels), 7), np.arange(1600).reshape(1, 40, 40, 1) % 256 // 3 + [0] * channels]
    )
    pixels = pixels.astype(np.float32)
    out = randaugment.equalize(tf.constant(pixels)).numpy()
    np.testing.assert_array_equal(out, keras_cv.layers.Equalization((0, 255))(pixels))
    assert out[0].max() == 255 and np.abs(out[0] - pixels[0]).max() > 20
    np.testing.assert_array_equal(out[4], pixels[4])
    assert randaugment.equalize(tf.zeros([0, 8, 8, channels])).shape == [0, 8, 8, channels]


@pytest.mark.parametrize("magnitude", [0.0, MAGNITUDE, 1.0])
def test_strengths_are_distributed_as_the_layers_draw_them(magnitude):
    count = 20_000
    layers = keras_cv.layers.RandAugment((0, 255), magnitude=magnitude).layers
    for (name, (_, sample)), layer in zip(randaugment.operations(magnitude, 3).items(), layers):
        if name in ("auto_contrast", "equalize"):
            continue
        ours, theirs = sample(uniforms(count, 2)), layer.get_random_transformation_batch(count)
        if not isinstance(ours, dict):
            ours, theirs = {"": ours}, {"": theirs}
        assert set(ours) == set(theirs)
        for key, values in ours.items():
            if values is None:
                assert not np.any(theirs[key])
                continue
            assert values.shape == theirs[key].shape
            # Theirs are other numbers every time: Kolmogorov-Smirnov at a level of less than one in a million.
            assert stats.ks_2samp(np.ravel(values), np.ravel(theirs[key])).statistic < 0.027, (name, key)


def test_magnitude_0_moves_and_brightens_nothing():
    pixels, draws = tf.constant(images(8)), uniforms(8, 2)
    for name, (apply, sample) in randaugment.operations(0.0, 3).items():
        if name in ("contrast", "brightness", "translate_x", "translate_y"):
            np.testing.assert_allclose(apply(pixels, sample(draws)), pixels, atol=1.0, err_msg=name)


# The whole


def test_all_operations_and_none_are_equally_likely(monkeypatch):
    """Every operation stands for a number here, and the first one that an image meets shows in it."""

    def first(number):
        return lambda x, _: tf.where(x == 0, tf.ones_like(x) * number, x)

    listed = {name: (first(20.0 * (number + 1)), lambda draws: None) for number, name in enumerate(NAMES)}
    monkeypatch.setattr(randaugment, "operations", lambda magnitude, channels: listed)
    count = 22_000
    out = randaugment.augment(tf.zeros([count, 1, 1, 1]), uniforms(count, randaugment.DRAWS), 0.5).numpy()
    met = np.bincount(np.int64(np.round(out.ravel() * 255 / 20)), minlength=11)
    assert len(met) == 11
    assert stats.chisquare(met).pvalue > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [0.0, 1.0])
def test_views_lie_between_0_and_1(channels, magnitude):
    policy = FinetuneConfig(augment="randaugment", randaugment_magnitude=magnitude, randaugment_layers=5)
    pixels = np.uint8(images(256, channels))
    pixels[::4] = pixels[::4, :1, :1]  # flat
    views = view(pixels, range(256), policy=policy)
    assert views.shape == (256, 16, 16, channels) and views.dtype == np.float32
    assert np.isfinite(views).all() and views.min() == 0 and views.max() == 1


def test_seed_and_position_make_another_view():
    pixels = np.uint8(images(8))
    base = view(pixels, range(8))
    np.testing.assert_array_equal(view(pixels, range(8)), base)
    for other in (view(pixels, range(8), seed=2), view(pixels, range(8, 16))):
        assert np.all(np.abs(other - base).max(axis=(1, 2, 3)) > 0.01)


def test_a_view_does_not_depend_on_its_batch():
    pixels = np.uint8(images(12))
    together = view(pixels, range(12))
    for i in range(12):
        np.testing.assert_allclose(view(pixels[i : i + 1], [i])[0], together[i], atol=1e-6)


def test_a_graph_makes_the_same_views():
    pixels = np.uint8(images(16))
    traced = tf.function(lambda x, p: make_view(x, p, seed=1, view=0, size=16, policy=POLICY), autograph=False)
    np.testing.assert_allclose(traced(pixels, tf.range(16, dtype=tf.int64)), view(pixels, range(16)), atol=1e-6)


def test_crop_and_flip_are_those_of_the_other_policies(monkeypatch):
    monkeypatch.setattr(randaugment, "augment", lambda x, draws, magnitude: x)
    pixels = np.uint8(images(4))
    np.testing.assert_array_equal(view(pixels, range(4)), view(pixels, range(4), policy=FinetuneConfig(augment="crop_flip")))
