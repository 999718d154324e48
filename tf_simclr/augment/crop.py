"""Random crop, resize and flip as two small matrices per image: Y = A_h X A_wᵀ.

SimCLR's crop (Chen et al. 2020, appendix A): area uniform in [min_area, 1], aspect ratio uniform in [1/max_aspect, max_aspect], resized to
the output; there 0.08 and 4/3.

As in the authors' code, crops are cut in whole pixels and interpolated without a filter against aliasing. docs/pretraining.md says where
they differ: small images are cut in fractions of pixels, as they would have few crops otherwise; a crop of twice the output's side or more
is averaged in blocks of pixels first, so that none is left out; interpolation is linear.
"""

import functools
import operator

import tensorflow as tf

ATTEMPTS = 8
DRAWS = 2 * ATTEMPTS + 3
SMALL = 64  # pixels a side of images and views that are cut in fractions of pixels


def sample_boxes(draws, heights, widths, size, min_area, flip, max_aspect=4 / 3):
    """Turns uniform draws into crop boxes; the first of eight attempts that fits is taken, else the whole image.

    Unless image and view `are_small`, the box is then rounded to whole pixels, and down to whole blocks of them (see `reduction`).

    Args:
      draws: float32 [B, DRAWS] in [0, 1).
      heights, widths: float32 [B], the images' sides in pixels.
      size: int, side of the view in pixels.
      min_area: least area of a crop as a share of the image's, in (0, 1].
      flip: probability of a horizontal flip, in [0, 1].
      max_aspect: greatest ratio of width to height, and the inverse of the least one, at least 1.

    Returns:
      boxes float32 [B, 4]: top, left, height, width in pixels; flips bool [B].
    """
    area = (min_area + (1.0 - min_area) * draws[:, :ATTEMPTS]) * (heights * widths)[:, None]
    aspect = 1.0 / max_aspect + (max_aspect - 1.0 / max_aspect) * draws[:, ATTEMPTS : 2 * ATTEMPTS]
    w, h = tf.sqrt(area * aspect), tf.sqrt(area / aspect)
    fits = (w <= widths[:, None]) & (h <= heights[:, None])
    first = tf.argmax(tf.cast(fits, tf.int32), axis=1)
    some = tf.reduce_any(fits, axis=1)
    h = tf.where(some, tf.gather(h, first, batch_dims=1), heights)
    w = tf.where(some, tf.gather(w, first, batch_dims=1), widths)
    lengths, rooms = tf.stack([h, w], axis=1), tf.stack([heights, widths], axis=1)
    small = are_small(heights, widths, size)[:, None]
    pixels = tf.maximum(tf.round(lengths), 1.0)
    blocks = reduction(pixels, size)
    lengths = tf.where(small, lengths, _quotient(pixels, blocks) * blocks)
    free = rooms - lengths
    starts = tf.where(small, draws[:, -3:-1] * free, tf.minimum(tf.floor(draws[:, -3:-1] * (free + 1.0)), free))
    return tf.concat([starts, lengths], axis=1), draws[:, -1] < flip


def are_small(*sides):
    """Whether none of the sides, numbers or tensors, is larger than `SMALL`."""
    return functools.reduce(operator.and_, (side <= SMALL for side in sides))


def reduction(length, size):
    """How many pixels of an interval of so many are averaged to one before `size` samples are taken: at least 1, float32 as `length`."""
    return tf.maximum(_quotient(length, size), 1.0)


def _quotient(x, divisor):
    """⌊x / divisor⌋ of whole x; the half keeps it right where a compiler multiplies by a rounded reciprocal."""
    return tf.floor((x + 0.5) / divisor)


def resampling_matrix(start, length, pixels, size, reverse=None):
    """The matrix that resamples an interval of a row of pixels, linearly; one of twice the samples or more is averaged in blocks first.

    For whole start and length, equal to `tf.image.resize` of `row[start:start + length]`, or of the means of its blocks.

    Args:
      start, length: float32 [B], the interval in pixels.
      pixels: int, pixels in the row (may be a scalar tensor).
      size: int, samples taken.
      reverse: bool [B], mirror the samples; None for never.

    Returns:
      float32 [B, size, pixels]; rows sum to 1.
    """
    pixel = tf.range(tf.cast(pixels, tf.float32))
    if isinstance(pixels, int) and lies_between_two(pixels, size):
        return tf.nn.relu(1.0 - tf.abs(places(start, length, size, reverse)[..., None] - pixel))
    centre, first, last = _centres(start, length, size, reverse)
    side = reduction(length, size)[:, None]
    block, count = _quotient(pixel - first, side), _quotient(last - first, side)
    centre = tf.clip_by_value((centre - first) / side - 0.5, 0.0, count)
    inside = tf.cast((pixel >= first) & (pixel <= last), tf.float32)
    weights = tf.nn.relu(1.0 - tf.abs(centre[..., None] - block[:, None, :])) * inside[:, None, :]
    return weights * (1.0 / tf.reduce_sum(weights, axis=-1, keepdims=True))


def lies_between_two(pixels, size):
    """Whether every sample of intervals of a row of so many pixels lies between two of them, none being averaged before."""
    return pixels < 2 * size


def places(start, length, size, reverse=None):
    """Where the samples of `resampling_matrix` lie in the row of pixels, float32 [B, size], the first pixel's place being 0.

    A place between two pixels takes of each by how near it is. Only where `lies_between_two`.
    """
    centre, first, last = _centres(start, length, size, reverse)
    return tf.clip_by_value(centre - 0.5, first, last)


def _centres(start, length, size, reverse):
    """Middles of samples, [B, size], the first pixel's left end being 0, and the first and last pixel that they may see, [B, 1]."""
    sample = tf.range(size, dtype=tf.float32)[None, :]
    if reverse is not None:
        sample = tf.where(reverse[:, None], size - 1.0 - sample, sample)
    centre = start[:, None] + (sample + 0.5) * (length[:, None] / size)
    return centre, tf.floor(start)[:, None], tf.math.ceil(start + length)[:, None] - 1.0


def crop_resize_flip(images, boxes, flips, size):
    """Crops, resizes and flips a batch.

    Args:
      images: uint8 or float [B, H, W, C] in 0–255; one image may stand for all.
      boxes: float32 [B, 4], see `sample_boxes`.
      flips: bool [B].
      size: int, side of the square output in pixels.

    Returns:
      float32 [B, size, size, C] in [0, 1].
    """
    shape, channels = tf.shape(images), images.shape[3]
    height, width = images.shape[1] or shape[1], images.shape[2] or shape[2]
    rows = resampling_matrix(boxes[:, 0], boxes[:, 2], height, size)
    columns = resampling_matrix(boxes[:, 1], boxes[:, 3], width, size, flips)
    pixels = tf.cast(images, tf.float32) * (1.0 / 255.0)
    shrunk = tf.matmul(rows, tf.reshape(pixels, [-1, height, width * channels]))
    if channels == 1:
        out = tf.matmul(tf.reshape(shrunk, [-1, size, width]), columns, transpose_b=True)
    else:
        out = tf.einsum("bjw,biwc->bijc", columns, tf.reshape(shrunk, [-1, size, width, channels]))
    return tf.reshape(out, [-1, size, size, channels])
