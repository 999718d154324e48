"""The views of `views.random_crop` and `views.recolour`, equal within rounding, made the way that is quick on a CPU.

- Small images of one size are made by the batch, see `by_lines`; of several sizes, one at a time, as by the train step.
- Larger ones are made one at a time, so that an image stays in the cache of its core and threads work on different images. What the
  crop does not see is cut off first, as bytes, and TensorFlow's kernel of bilinear interpolation makes the view of the rest. Only the
  views that are blurred are multiplied with the blur's matrices, in tiles of rows without the zeros around them.
"""

import functools

import numpy as np
import tensorflow as tf

from tf_simclr.augment import blur, by_lines, colour, crop, views
from tf_simclr.silence import hush_compiler

_TILE = 16  # rows; less work in smaller tiles, but more and slower products


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
      images: uint8 [B, H, W, C] of known shape.
      numbers: what `prepare` returns, with the V views of every image: [B, V, …].
      size: S, side of the output in pixels.
      policy: see `views.make_view`.

    Returns:
      A list of V float32 [B, S, S, C] in [0, 1].
    """
    hush_compiler()
    return _traced(by_lines.make_views, images.shape, size, views.crops_of(policy), compiled=True)(images, numbers)


@functools.cache
def _traced(function, shape, size, crops, compiled=None):
    """What makes the views of images of a shape; a process traces and compiles it once, and not for every data set."""
    return tf.function(functools.partial(function, size=size, crops=crops), autograph=False, jit_compile=compiled)


def make_one(image, numbers, size, policy):
    """Views of one image of any size.

    Args:
      image: uint8 [H, W, C]; H and W may be unknown until it runs.
      numbers: what `prepare` returns, for the V views of this image.
      size, policy: see `make_together`.

    Returns:
      A list of V float32 [S, S, C], see `make_together`.
    """
    return _traced(_make_one, image.shape, size, views.crops_of(policy))(image, numbers)


def _make_one(image, numbers, size, crops):
    def small():
        return tf.unstack(_make_small(image, numbers, size, crops), numbers["boxes"].shape[0])

    if not crop.are_small(size):
        return _make_large(image, numbers, size, crops)
    return tf.cond(crop.are_small(*tf.unstack(tf.shape(image)[:2])), small, lambda: _make_large(image, numbers, size, crops))


def _make_small(image, numbers, size, crops):
    """`make_one` of an image whose crops have fractions of pixels, by the operations of the train step."""
    boxes, flips = views.boxes_of(numbers["boxes"], *tf.unstack(tf.shape(image)[:2]), size, crops)
    made = crop.crop_resize_flip(image[None], boxes, flips, size)
    if "sigma" in numbers:
        made = blur.blur(made, numbers["sigma"])
    return colour.apply(made, *tf.unstack(numbers["colour"], axis=1)) if "colour" in numbers else made


def _make_large(image, numbers, size, crops):
    """`make_one` of an image whose crops have whole pixels."""
    boxes, flips = views.boxes_of(numbers["boxes"], *tf.unstack(tf.shape(image)[:2]), size, crops)
    boxes, made = tf.cast(boxes, tf.int32), []
    for view in range(boxes.shape[0]):
        top, left, height, width = tf.unstack(boxes[view])
        resized = _resize(image[top : top + height, left : left + width], size)
        of_view = {name: of[view] for name, of in numbers.items()}
        made.append(_finish(_perhaps(flips[view], lambda x: tf.reverse(x, [1]), resized), of_view, size))
    return made


def _perhaps(condition, operation, x):
    return tf.cond(condition, lambda: operation(x), lambda: x)


def _resize(part, size):
    """What a crop sees, uint8 [H, W, C], as float32 [S, S, C] in 0–255."""
    shape = tf.shape(part)[:2]
    blocks = tf.maximum(shape // size, 1)
    # The blocks are whole, by `crop.sample_boxes`.
    averaged = functools.partial(tf.image.resize, part, shape // blocks, "area")
    pixels = tf.cond(tf.reduce_any(blocks > 1), averaged, lambda: tf.cast(part, tf.float32))
    return tf.image.resize(pixels, [size, size])


def _finish(pixels, numbers, size):
    """Blur and colour of one view, float32 [S, S, C] in 0–255 to 0–1."""
    if "sigma" in numbers:
        pixels = _perhaps(numbers["sigma"] > 0, lambda x: _blur(x, numbers["sigma"], size), pixels)
    if "colour" not in numbers:
        return pixels * (1.0 / 255.0)
    channels = pixels.shape[2]
    matrix, of_mean = tf.unstack(numbers["colour"] * (1.0 / 255.0))
    rows = tf.reshape(pixels, [size, size * channels])  # long ones, as short ones are slow to sum and to add to
    mean = tf.reduce_mean(tf.reshape(tf.reduce_mean(rows, axis=0), [size, channels]), axis=0)
    # By TensorFlow's kernel: oneDNN's, which `tf.matmul` is, gives half of the pixels to another core, which works on another image.
    coloured = tf.raw_ops.BatchMatMulV3(x=tf.reshape(pixels, [-1, channels]), y=matrix, adj_y=True, Tout=tf.float32)
    coloured = tf.reshape(coloured, rows.shape)
    coloured += tf.tile(tf.linalg.matvec(of_mean, mean), [size])
    return tf.reshape(tf.clip_by_value(coloured, 0.0, 1.0), [size, size, channels])


def _blur(pixels, sigma, size):
    """`blur.blur` of one image, float32 [S, S, C], of sigma > 0."""
    tiles = max(1, round(size / _TILE))
    rows, reach = -(-size // tiles), blur.radius(size)
    seen = min(size, rows + 2 * reach)
    starts = np.arange(tiles) * rows
    firsts = np.clip(starts - reach, 0, size - seen)
    # Rows after the last one of the image are the last one again.
    wanted = np.minimum(starts[:, None] + np.arange(rows), size - 1).astype(np.float32)
    kernels = tf.unstack(blur.kernel(sigma, tf.constant(wanted), tf.constant(np.float32(firsts[:, None] + np.arange(seen))), size))
    for _ in range(2):
        flat = tf.reshape(pixels, [size, -1])
        blurred = tf.concat([kernel @ flat[first : first + seen] for kernel, first in zip(kernels, firsts)], axis=0)[:size]
        pixels = tf.transpose(tf.reshape(blurred, [size, size, -1]), [1, 0, 2])
    return pixels
