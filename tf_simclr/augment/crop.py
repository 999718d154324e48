"""Random crop, resize and flip as two small matrices per image: Y = A_h X A_wᵀ.

SimCLR's crop (Chen et al. 2020, appendix A): area uniform in [min_area, 1], aspect ratio uniform in [3/4, 4/3], resized to the output.
"""

import tensorflow as tf

ATTEMPTS = 8
DRAWS = 2 * ATTEMPTS + 3
_ASPECT = (3.0 / 4.0, 4.0 / 3.0)


def sample_boxes(draws, heights, widths, min_area, flip):
    """Turns uniform draws into crop boxes; the first of eight attempts that fits is taken, else the whole image.

    Args:
      draws: float32 [B, DRAWS] in [0, 1).
      heights, widths: float32 [B], the images' sides in pixels.
      min_area: least area of a crop as a share of the image's, in (0, 1].
      flip: probability of a horizontal flip, in [0, 1].

    Returns:
      boxes float32 [B, 4]: top, left, height, width in pixels (fractional); flips bool [B].
    """
    area = (min_area + (1.0 - min_area) * draws[:, :ATTEMPTS]) * (heights * widths)[:, None]
    aspect = _ASPECT[0] + (_ASPECT[1] - _ASPECT[0]) * draws[:, ATTEMPTS : 2 * ATTEMPTS]
    w, h = tf.sqrt(area * aspect), tf.sqrt(area / aspect)
    fits = (w <= widths[:, None]) & (h <= heights[:, None])
    first = tf.argmax(tf.cast(fits, tf.int32), axis=1)
    some = tf.reduce_any(fits, axis=1)
    h = tf.where(some, tf.gather(h, first, batch_dims=1), heights)
    w = tf.where(some, tf.gather(w, first, batch_dims=1), widths)
    top, left = draws[:, -3] * (heights - h), draws[:, -2] * (widths - w)
    return tf.stack([top, left, h, w], axis=1), draws[:, -1] < flip


def resampling_matrix(start, length, pixels, size, reverse=None):
    """The matrix that resamples an interval of a row of pixels, bilinear and antialiased when it shrinks.

    Equal to `tf.image.resize(row[start:start + length], antialias=True)` for whole start and length.

    Args:
      start, length: float32 [B], the interval in pixels.
      pixels: int, pixels in the row (may be a scalar tensor).
      size: int, samples taken.
      reverse: bool [B], mirror the samples; None for never.

    Returns:
      float32 [B, size, pixels]; rows sum to 1.
    """
    sample = tf.range(size, dtype=tf.float32)[None, :]
    if reverse is not None:
        sample = tf.where(reverse[:, None], size - 1.0 - sample, sample)
    scale = length[:, None] / size
    centre = centres(start[:, None], scale, sample)
    pixel = tf.range(tf.cast(pixels, tf.float32))
    first, end = tf.floor(start)[:, None], tf.math.ceil(start + length)[:, None]
    if isinstance(pixels, int) and pixels <= size:
        # Nothing shrinks: each sample lies between two pixels, or beyond the last one that it may see. Half as many operations.
        return tf.nn.relu(1.0 - tf.abs(tf.clip_by_value(centre, first, end - 1.0)[..., None] - pixel))
    inside = (pixel >= first) & (pixel < end)
    return triangle(centre, pixel, scale, inside[:, None, :])


def centres(start, scale, sample):
    """Where samples of an interval lie, in pixels: the middle of every `scale` of them from `start` on."""
    return start + (sample + 0.5) * scale - 0.5


def triangle(centre, pixel, scale, inside=None):
    """The weights of pixels in samples, by a triangle as wide as the samples are apart and at least as pixels are.

    Args:
      centre: float32 [..., M], see `centres`.
      pixel: float32 [..., P].
      scale: float32 that broadcasts against the centres; pixels from one sample to the next.
      inside: bool that broadcasts against the weights, pixels that count; None for all.

    Returns:
      float32 [..., M, P]; rows sum to 1.
    """
    distance = tf.abs(centre[..., None] - pixel[..., None, :]) / tf.maximum(scale, 1.0)[..., None]
    weights = tf.maximum(1.0 - distance, 0.0)
    if inside is not None:
        weights *= tf.cast(inside, tf.float32)
    return weights * (1.0 / tf.reduce_sum(weights, axis=-1, keepdims=True))


def crop_resize_flip(images, boxes, flips, size):
    """Crops, resizes and flips a batch.

    Args:
      images: uint8 or float [B, H, W, C] in 0–255.
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
