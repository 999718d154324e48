"""A view of an image: crop, flip, blur and colour, chosen by a policy and by (seed, position, view) alone."""

import tensorflow as tf

from tf_simclr.augment import blur, colour, crop
from tf_simclr.augment.random import uniform

DRAWS = crop.DRAWS + colour.DRAWS + blur.DRAWS


def make_view(images, positions, *, seed, view, size, policy):
    """Draws and applies one view of every image in a batch.

    Args:
      images: uint8 [B, H, W, C], C 1 or 3.
      positions: int64 [B], positions in the sequence of training examples.
      seed: int, the run's seed.
      view: int, number of the view; views of one position are independent.
      size: int, side of the output in pixels.
      policy: a `FitConfig`: crop_min_area, flip, jitter, brightness, contrast, saturation, hue, grey, blur.

    Returns:
      float32 [B, size, size, C] in [0, 1].
    """
    draws = uniform(seed, positions, view, DRAWS)
    cropped = random_crop(images, draws, size, policy)
    return recolour(cropped, draws, policy)


def random_crop(images, draws, size, policy):
    """The geometric half of a view; images of one size, or a batch of one image of any size."""
    batch, height, width = (tf.shape(images)[i] for i in range(3))
    heights, widths = (tf.fill([batch], tf.cast(side, tf.float32)) for side in (height, width))
    boxes, flips = crop.sample_boxes(draws[:, : crop.DRAWS], heights, widths, policy.crop_min_area, policy.flip)
    return crop.crop_resize_flip(images, boxes, flips, size)


def recolour(images, draws, policy):
    """The photometric half of a view: blur and colour of float images in [0, 1]; skipped where the policy never asks for it."""
    if policy.blur > 0:
        images = blur.blur(images, blur.sample_sigma(draws[:, -blur.DRAWS :], policy.blur))
    if policy.jitter > 0 or policy.grey > 0:
        images = colour.distort(images, colour.sample_factors(draws[:, crop.DRAWS : -blur.DRAWS], policy))
    return images
