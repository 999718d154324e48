"""The views of `views.random_crop` and `views.recolour`, equal within rounding, made the way that is quick on a CPU.

- Blur is multiplied into the matrices of the crop, so that it costs no pass over the pixels; colour and its offset are one product.
- Images of up to `TOGETHER` pixels a side are made by the batch: there, what counts is the number of operations.
- Larger ones are made one at a time, so that an image stays in the cache of its core and threads work on different images. What the
  crop does not see is cut off first, as bytes. The rest of its matrices is zero but for a band: they are cut into tiles of rows, and each
  is multiplied with the pixels that it sees.
"""

import numpy as np
import tensorflow as tf

from tf_simclr.augment import blur, colour, crop, views

TOGETHER = 64
_TILE = 28  # rows; less work in smaller tiles, but more and slower products


def prepare(draws, policy, channels, crop_only=False):
    """What views need beside their images, worked out for a batch, where it costs least.

    Args:
      draws: float32 [B, V, D], see `views.draw`.
      policy: see `views.make_view`.
      channels: C.
      crop_only: leave out what follows the crop.

    Returns:
      dict: boxes float32 [B, V, crop.DRAWS], draws of the crop; and, where they are asked for, sigma float32 [B, V] of the blur and colour
      float32 [B, V, 2, C, C], see `colour.compose`.
    """
    count = draws.shape[1]
    numbers = {"boxes": draws[..., : crop.DRAWS]}
    if crop_only:
        return numbers
    sigma, factors = views.blur_and_colour(tf.reshape(draws, [-1, draws.shape[2]]), policy)
    if sigma is not None:
        numbers["sigma"] = tf.reshape(sigma, [-1, count])
    if factors is not None:
        numbers["colour"] = tf.reshape(tf.stack(colour.compose(factors, channels), axis=1), [-1, count, 2, channels, channels])
    return numbers


def make_together(images, numbers, size, policy):
    """Views of a batch of small images.

    Args:
      images: uint8 [B, H, W, C].
      numbers: what `prepare` returns, with the V views of every image: [B, V, …].
      size: S, side of the output in pixels.
      policy: see `views.make_view`.

    Returns:
      A list of V float32 [B, S, S, C] in [0, 1].
    """
    planes = tf.transpose(tf.cast(images, tf.float32) * (1.0 / 255.0), [0, 3, 1, 2])
    each = (tf.nest.map_structure(lambda of, v=view: of[:, v], numbers) for view in range(numbers["boxes"].shape[1]))
    return [_resample_together(planes, of_view, size, policy) for of_view in each]


def _resample_together(planes, numbers, size, policy):
    """One view: planes are the channels of images in [0, 1], float32 [B, C, H, W]."""
    channels, height, width = planes.shape[1:]
    boxes, flips = views.boxes_of(numbers["boxes"], height, width, policy)
    rows = crop.resampling_matrix(boxes[:, 0], boxes[:, 2], height, size)
    columns = crop.resampling_matrix(boxes[:, 1], boxes[:, 3], width, size, flips)
    if "sigma" in numbers:
        pixel = tf.range(size, dtype=tf.float32)
        weights = blur.kernel(numbers["sigma"][:, None, None], pixel, pixel, size)
        rows, columns = weights @ rows, weights @ columns
    shrunk = tf.reshape(rows[:, None] @ planes, [-1, channels * size, width])
    resized = tf.reshape(tf.matmul(shrunk, columns, transpose_b=True), [-1, channels, size * size])
    if "colour" in numbers:
        matrix, of_mean = tf.unstack(numbers["colour"], axis=1)
        offset = tf.linalg.matvec(of_mean, tf.reduce_mean(resized, axis=2))
        resized = tf.clip_by_value(matrix @ resized + offset[:, :, None], 0.0, 1.0)
    return tf.reshape(tf.transpose(resized, [0, 2, 1]), [-1, size, size, channels])


def make_one(image, numbers, size, policy):
    """Views of one image of any size.

    Args:
      image: uint8 [H, W, C]; H and W may be unknown until it runs.
      numbers: what `prepare` returns, for the V views of this image.
      size, policy: see `make_together`.

    Returns:
      A list of V float32 [S, S, C], see `make_together`.
    """
    boxes, flips = views.boxes_of(numbers["boxes"], *tf.unstack(tf.shape(image)[:2]), policy)
    limits = tf.cast(tf.shape(image)[:2], tf.float32)
    first = tf.floor(boxes[:, :2])
    end = tf.cast(tf.minimum(tf.math.ceil(boxes[:, :2] + boxes[:, 2:]), limits), tf.int32)
    boxes, first = tf.concat([boxes[:, :2] - first, boxes[:, 2:]], axis=1), tf.cast(first, tf.int32)
    made = []
    for view in range(boxes.shape[0]):
        part = image[first[view, 0] : end[view, 0], first[view, 1] : end[view, 1]]
        sigma, maps = (numbers[name][view] if name in numbers else None for name in ("sigma", "colour"))
        made.append(_resample(part, boxes[view], flips[view], sigma, maps, size))
    return made


def _resample(part, box, flip, sigma, maps, size):
    """One view: part is what the crop sees, box and flip are the crop within it; [S, S, C]."""
    shape, channels = tf.shape(part), part.shape[2]
    rows, top = _tiles(box[0], box[2], shape[0], size, False, sigma)
    columns, left = _tiles(box[1], box[3], shape[1], size, flip, sigma)
    # As [row, channel, column], both products are of plain matrices, and the last one leaves pixels together. Products of batches would
    # be prepared anew for every shape of a crop, which takes as long as they do.
    planes = tf.reshape(tf.transpose(tf.cast(part, tf.float32), [0, 2, 1]), [shape[0], channels * shape[1]])
    seen = [planes[first : first + tf.shape(rows)[2]] for first in tf.unstack(top)]
    shrunk = tf.concat([tile @ pixels for tile, pixels in zip(tf.unstack(rows * (1.0 / 255.0)), seen)], axis=0)[:size]
    shrunk = tf.reshape(shrunk, [size * channels, shape[1]])
    seen = [shrunk[:, first : first + tf.shape(columns)[2]] for first in tf.unstack(left)]
    parts = [tf.matmul(pixels, tile, transpose_b=True) for tile, pixels in zip(tf.unstack(columns), seen)]
    resized = tf.concat(parts, axis=1)[:, :size]
    # A product with ones sums faster than a sum over the first axis.
    sums = tf.reshape(tf.ones([1, size]) @ tf.reshape(resized, [size, channels * size]), [channels, size])
    planes, mean = tf.reshape(resized, [size, channels, size]), tf.reduce_sum(sums, axis=1) / size**2
    if maps is None:
        return tf.transpose(planes, [0, 2, 1])
    # The last channel, of ones, adds the offset; and the product leaves channels last.
    affine = tf.concat([maps[0], tf.linalg.matvec(maps[1], mean)[:, None]], axis=1)
    planes = tf.concat([planes, tf.ones([size, 1, size])], axis=1)
    return tf.clip_by_value(tf.matmul(planes, affine[None], transpose_a=True, transpose_b=True), 0.0, 1.0)


def _tiles(start, length, pixels, size, flip, sigma):
    """The matrix that resamples a row of pixels and blurs the result, in tiles of rows and without the zeros around them.

    Args:
      start, length: float32, the interval that is sampled. It lies within the pixels, and sees all of them.
      pixels: int32, pixels of the row.
      size: int, samples.
      flip: bool, whether the samples are mirrored.
      sigma: float32 of the blur, or None.

    Returns:
      float32 [T, R, K] and int32 [T]: row r of tile t is the row t · R + r of the matrix, for K pixels from the t-th number on. Rows after
      the last one of the matrix have no meaning.
    """
    tiles = max(1, round(size / _TILE))
    count = -(-size // tiles)
    starts = np.arange(tiles)[:, None] * count
    wanted = np.minimum(starts + np.arange(count), size - 1).astype(np.float32)

    def sampled(places):
        return _band(start, length, pixels, np.clip(places, 0, size - 1), size, flip)

    def blurred():
        reach = blur.radius(size)
        places = (starts + np.arange(-reach, count + reach)).astype(np.float32)
        matrix, first = sampled(places)
        kernels = blur.kernel(sigma, tf.constant(wanted), tf.constant(places), size)
        return tf.stack([kernel @ tile for kernel, tile in zip(tf.unstack(kernels), tf.unstack(matrix))]), first

    return sampled(wanted) if sigma is None else tf.cond(sigma > 0, blurred, lambda: sampled(wanted))


def _band(start, length, pixels, places, size, flip):
    """`crop.resampling_matrix` of the samples at `places`, float32 [T, M]: [T, M, K] and the first of the K pixels of each tile [T]."""
    scale = length / size
    places = tf.where(flip, size - 1.0 - places, places)
    centres = crop.centres(start, scale, places)
    reach = tf.maximum(scale, 1.0)
    seen = tf.minimum(pixels, tf.cast(tf.math.ceil((places.shape[1] - 1) * scale + 2.0 * reach), tf.int32) + 1)
    first = tf.cast(tf.floor(tf.reduce_min(centres, axis=1) - reach), tf.int32) + 1
    first = tf.clip_by_value(first, 0, pixels - seen)
    pixel = tf.cast(first[:, None] + tf.range(seen), tf.float32)
    return crop.triangle(centres, pixel, scale[None, None]), first
