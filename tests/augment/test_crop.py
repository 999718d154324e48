import numpy as np
import oracles
import pytest
import tensorflow as tf

from tf_simclr.augment import crop, views
from tf_simclr.augment.random import uniform
from tf_simclr.config import FitConfig


def draws(count):
    return uniform(3, tf.range(count, dtype=tf.int64), 0, crop.DRAWS)


def block_means(part, size):
    """The means of blocks of pixels [B, H, W, C], as many to a block as there are for each of `size` samples."""
    count, height, width, channels = part.shape
    down, across = max(1, height // size), max(1, width // size)
    return part.reshape(count, height // down, down, width // across, across, channels).mean(axis=(2, 4))


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("box", [(0, 0, 20, 24), (3, 5, 16, 12), (2, 1, 5, 24), (7, 9, 3, 4), (1, 2, 15, 15)], ids=str)
def test_whole_boxes_equal_slice_and_resize(box, channels, size):
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 26, channels), np.uint8)
    top, left, height, width = box
    part = images[:, top : top + height, left : left + width]
    expected = tf.image.resize(block_means(part, size), [size, size]) / 255
    out = crop.crop_resize_flip(images, tf.constant([box, box], tf.float32), tf.constant([False, True]), size)
    np.testing.assert_allclose(out[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(out[1], tf.image.flip_left_right(expected)[1], atol=1e-5)


@pytest.mark.parametrize("length", [8.0, 15.9, 16.0, 23.5, 26.0, 61.3])
def test_no_pixel_is_left_out(length):
    matrix = crop.resampling_matrix(tf.constant([1.4]), tf.constant([length]), 64, 8)[0].numpy()
    wholly_inside = np.arange(2, int(1.4 + length))
    assert np.all(matrix.sum(axis=0)[wholly_inside] > 0)


def test_rows_of_fractional_intervals_sum_to_one_and_stay_inside():
    start, length = tf.constant([0.4, 5.95, 3.3]), tf.constant([0.3, 0.05, 6.6])
    matrix = crop.resampling_matrix(start, length, 10, 4).numpy()
    np.testing.assert_allclose(matrix.sum(axis=2), 1, atol=1e-6)
    assert np.all(matrix[0, :, 1:] == 0) and np.all(matrix[2, :, :3] == 0)


def test_what_does_not_shrink_has_the_same_matrix_whether_the_sizes_are_known_or_not():
    start, length = tf.constant([0.4, 5.95, 3.3, 0.0]), tf.constant([0.3, 0.05, 6.6, 10.0])
    flips = tf.constant([True, False, True, False])
    known = crop.resampling_matrix(start, length, 10, 12, flips)
    np.testing.assert_allclose(known, crop.resampling_matrix(start, length, tf.constant(10), 12, flips), atol=1e-5)


@pytest.mark.parametrize(
    "height, width, min_area, max_aspect",
    [(32, 32, 0.08, 4 / 3), (20, 60, 0.3, 4 / 3), (32, 32, 1.0, 4 / 3), (32, 32, 0.3, 3), (20, 60, 0.3, 1)],
)
def test_boxes_are_the_first_attempt_that_fits(height, width, min_area, max_aspect):
    sample = draws(500)
    boxes, _ = crop.sample_boxes(sample, tf.fill([500], float(height)), tf.fill([500], float(width)), 32, min_area, 0.5, max_aspect)
    expected = [oracles.crop_box(d, height, width, min_area, crop.ATTEMPTS, max_aspect) for d in sample.numpy().astype(np.float64)]
    np.testing.assert_allclose(boxes, expected, atol=2e-3)


@pytest.mark.parametrize(
    "height, width, size, min_area", [(375, 500, 224, 0.08), (65, 9, 16, 0.3), (20, 30, 96, 0.08), (900, 450, 100, 1.0)]
)
def test_large_images_are_cut_in_whole_blocks_of_pixels(height, width, size, min_area):
    sample = draws(2000)
    boxes, _ = crop.sample_boxes(sample, tf.fill([2000], float(height)), tf.fill([2000], float(width)), size, min_area, 0.5)
    exact = np.array([oracles.crop_box(d, height, width, min_area, crop.ATTEMPTS) for d in sample.numpy().astype(np.float64)])
    starts, lengths = np.split(boxes.numpy(), 2, axis=1)
    np.testing.assert_array_equal(boxes, np.round(boxes))
    blocks = np.maximum(1, lengths // size)
    assert np.all(lengths >= 1) and np.all(lengths % blocks == 0)
    assert np.all(np.abs(lengths - exact[:, 2:]) <= blocks)
    room = np.array([height, width]) - lengths
    assert np.all(starts >= 0) and np.all(starts <= room)
    for start, free, draw in zip(starts.T, room.T, sample.numpy()[:, -3:-1].T):
        np.testing.assert_array_equal(start, np.floor(draw * (free + 1)))  # every place as likely as any other


def test_a_policy_says_how_far_crops_may_be_stretched():
    def aspects(policy):
        boxes, _ = views.boxes_of(draws(2000), 32, 32, 32, views.crops_of(policy))
        return boxes[:, 3] / boxes[:, 2]

    square, stretched = (aspects(FitConfig(crop_max_aspect=most)) for most in (1.0, 3.0))
    np.testing.assert_allclose(square, 1, atol=1e-5)
    assert 0.33 < np.min(stretched) < 0.35 and 2.9 < np.max(stretched) < 3.001


def test_distribution_of_boxes_and_flips():
    boxes, flips = crop.sample_boxes(draws(20_000), tf.fill([20_000], 32.0), tf.fill([20_000], 32.0), 32, 0.08, 0.3)
    top, left, height, width = boxes.numpy().T
    area, aspect = height * width / 32**2, width / height
    assert 0.08 <= area.min() < 0.09 and 0.95 < area.max() < 1.001
    assert 0.749 < aspect.min() < 0.76 and 1.32 < aspect.max() < 1.334
    assert min(top.min(), left.min()) >= 0 and (top + height).max() < 32.001 and (left + width).max() < 32.001
    small = np.sort(area[area < 0.5])  # attempts of this size always fit, so these are uniform
    distance = np.abs((small - 0.08) / 0.42 - (np.arange(len(small)) + 0.5) / len(small)).max()
    assert distance < 2.2 / np.sqrt(len(small))
    assert abs(np.mean(flips) - 0.3) < 0.015
