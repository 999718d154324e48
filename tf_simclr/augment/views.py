"""A view of an image: crop, flip and what follows them, chosen by a policy and by (seed, position, view) alone."""

import dataclasses

import tensorflow as tf

from tf_simclr.augment import blur, colour, crop, randaugment
from tf_simclr.augment.random import uniform
from tf_simclr.config import PretrainConfig

DRAWS = crop.DRAWS + colour.DRAWS + blur.DRAWS
# RandAugment's draws are those of a view of its own, far from all others: crop and flip stay those of the other policies.
_RANDAUGMENT = 1 << 16


def make_view(images, positions, *, seed, view, size, policy):
    """Draws and applies one view of every image in a batch.

    Args:
      images: uint8 [B, H, W, C], C 1 or 3.
      positions: int64 [B], positions in the sequence of training examples.
      seed: int, the run's seed.
      view: int, number of the view; views of one position are independent.
      size: int, side of the output in pixels.
      policy: a `FitConfig`: crop_min_area, crop_max_aspect, flip, jitter, brightness, contrast, saturation, hue, grey, blur; in a
        `FinetuneConfig` also augment, randaugment_magnitude and randaugment_layers.

    Returns:
      float32 [B, size, size, C] in [0, 1].
    """
    return finish({"images": images, "draws": draw(seed, positions, [view], policy)}, size, policy)["views"][0]


def finish(batch, size, policy):
    """Makes the views of a batch, wherever it is called: in the input pipeline, or in the train step.

    Args:
      batch: dict with draws, float32 [B, V, D] for the V views of every image; and images, uint8 [B, H, W, C], or their crops under views,
        V times float32 [B, size, size, C] in [0, 1].
      size, policy: as for `make_view`.

    Returns:
      The dict without draws and images; views are finished.
    """
    rest = {key: value for key, value in batch.items() if key not in ("images", "draws")}
    draws = tf.unstack(batch["draws"], axis=1)
    crops = batch["views"] if "views" in batch else (random_crop(batch["images"], d, size, policy) for d in draws)
    return {**rest, "views": tuple(recolour(crop, d, policy) for crop, d in zip(crops, draws))}


def draw(seed, positions, numbers, policy):
    """The uniform draws of the views with these numbers, float32 [B, V, `draws_of(policy)`]."""

    draws = uniform(seed, positions, numbers, DRAWS)
    if policy.augment != "randaugment":
        return draws
    more = uniform(seed, positions, [_RANDAUGMENT + number for number in numbers], draws_of(policy) - DRAWS)
    return tf.concat([draws, more], axis=2)


def draws_of(policy):
    """Draws that a view takes."""
    return DRAWS + (policy.randaugment_layers * randaugment.DRAWS if policy.augment == "randaugment" else 0)


def random_crop(images, draws, size, policy):
    """The geometric half of a view; images of one size, or a batch of one image of any size."""
    boxes, flips = boxes_of(draws[:, : crop.DRAWS], *tf.unstack(tf.shape(images)[1:3]), size, crops_of(policy))
    return crop.crop_resize_flip(images, boxes, flips, size)


def crops_of(policy):
    """What a policy says of crops, for `boxes_of`."""
    return policy.crop_min_area, policy.flip, policy.crop_max_aspect


def boxes_of(draws, height, width, size, crops):
    """Boxes and flips, see `crop.sample_boxes`, of images of one size."""
    heights, widths = (tf.fill([tf.shape(draws)[0]], tf.cast(side, tf.float32)) for side in (height, width))
    return crop.sample_boxes(draws, heights, widths, size, *crops)


def recolour(images, draws, policy):
    """What follows crop and flip, on float images in [0, 1]: RandAugment, or blur and colour, each skipped where nothing asks for it."""
    if policy.augment == "randaugment":
        return randaugment.augment(images, draws[:, DRAWS:], policy.randaugment_magnitude)
    sigma, factors = blur_and_colour(draws, policy)
    if sigma is not None:
        images = blur.blur(images, sigma)
    return images if factors is None else colour.distort(images, factors)


def blur_and_colour(draws, policy):
    """The parameters of `blur.blur` and of `colour.distort`; None for what the policy does not ask for."""
    if policy.augment == "simclr":
        published = {name: getattr(PretrainConfig, name) for name in ("jitter", "grey", "blur")}
        policy = dataclasses.replace(policy, **published)
    _, for_colour, for_blur = tf.split(draws[:, :DRAWS], [crop.DRAWS, colour.DRAWS, blur.DRAWS], axis=1)
    sigma = blur.sample_sigma(for_blur, policy.blur) if policy.blur > 0 else None
    factors = colour.sample_factors(for_colour, policy) if policy.jitter > 0 or policy.grey > 0 else None
    return sigma, factors
