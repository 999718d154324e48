"""RandAugment (Cubuk et al., arXiv 1909.13719) as KerasCV defines it, with every draw made by us.

KerasCV's own layer draws from generators that it keeps to itself, so that no step could be repeated. Its list of operations and what a
magnitude means to each are read from `keras_cv.layers.RandAugment`; the parameters that its layers would draw are made from our draws
and handed to their `augment_images`. Two operations are not the layer's:

- equalize is written out here, since the layer asks a tensor whether it is true, which the graph of an input pipeline cannot answer;
- colour degeneration leaves a grey image as it is, where the layer would refuse it.
"""

import tensorflow as tf

from tf_simclr import kerascv

DRAWS = 3  # of each image in each round: which operation, and up to two for its parameters


def augment(images, draws, magnitude):
    """Applies operations to every image, one in each round: one of KerasCV's ten or none, all eleven equally likely.

    Args:
      images: float32 [B, S, S, C] in [0, 1], C 1 or 3; S and C are static.
      draws: float32 [B, R * DRAWS] in [0, 1), for R rounds.
      magnitude: float in [0, 1], the mean strength. Within one operation strengths spread about it as KerasCV has it (by 0.15), and
        auto-contrast and equalize have none.

    Returns:
      float32 [B, S, S, C] in [0, 1]. An image's result depends on its own draws only.
    """
    listed = [*operations(magnitude, images.shape[-1]).values(), (_unchanged, _nothing)]
    pixels = images * 255.0
    for start in range(0, draws.shape[1], DRAWS):
        chosen = tf.cast(draws[:, start] * len(listed), tf.int32)
        # Every operation sees its own images alone; all ten on all images would take ten times as long.
        members = tf.dynamic_partition(tf.range(tf.shape(pixels)[0]), chosen, len(listed))
        own = draws[:, start + 1 : start + DRAWS]
        parts = [apply(tf.gather(pixels, rows), sample(tf.gather(own, rows))) for (apply, sample), rows in zip(listed, members)]
        pixels = tf.ensure_shape(tf.dynamic_stitch(members, parts), images.shape)
    return tf.clip_by_value(pixels * (1.0 / 255.0), 0.0, 1.0)


def operations(magnitude, channels):
    """KerasCV's operations by name, in its order.

    Args:
      magnitude: float in [0, 1].
      channels: 1 or 3.

    Returns:
      dict of pairs (apply, sample): `sample(draws)` turns float32 [N, 2] in [0, 1) into the parameters of N images, of the structure that
      the layer's `get_random_transformation_batch` returns, and `apply(images, parameters)` maps float32 [N, S, S, C] in 0–255 to the same.
    """
    layers = kerascv.load().layers.RandAugment(value_range=(0, 255), magnitude=magnitude).layers
    auto_contrast, _, solarize, colour, contrast, brightness, shear_x, shear_y, translate_x, translate_y = layers

    def solarized(draws):
        return {
            "additions": _per_image(_quantile(solarize.addition_factor, draws[:, :1])),
            "thresholds": _per_image(_quantile(solarize.threshold_factor, draws[:, 1:])),
        }

    def sheared(factor, draws):
        return _quantile(factor, draws[:, :1]) * tf.where(draws[:, 1:] > 0.5, -1.0, 1.0)

    def translated(layer, draws):
        return {
            "height_translations": _between(layer.height_lower, layer.height_upper, draws[:, :1]),
            "width_translations": _between(layer.width_lower, layer.width_upper, draws[:, :1]),
        }

    return {
        "auto_contrast": (auto_contrast.augment_images, _nothing),
        "equalize": (equalize, _nothing),
        "solarize": (solarize.augment_images, solarized),
        "colour": (colour.augment_images if channels == 3 else _unchanged, lambda u: _per_image(_quantile(colour.factor, u[:, :1]))),
        "contrast": (contrast.augment_images, lambda u: _per_image(_quantile(contrast.factor, u[:, :1]))),
        "brightness": (brightness.augment_images, lambda u: 255.0 * _per_image(_quantile(brightness.factor, u[:, :1]))),
        "shear_x": (shear_x.augment_images, lambda u: {"shear_x": sheared(shear_x.x_factor, u), "shear_y": None}),
        "shear_y": (shear_y.augment_images, lambda u: {"shear_x": None, "shear_y": sheared(shear_y.y_factor, u)}),
        "translate_x": (translate_x.augment_images, lambda u: translated(translate_x, u)),
        "translate_y": (translate_y.augment_images, lambda u: translated(translate_y, u)),
    }


def equalize(images, parameters=None):
    """Histogram equalisation of every channel of every image, as `keras_cv.layers.Equalization` does it.

    Args:
      images: float32 [N, S, S, C] in 0–255; fractions are cut off.
      parameters: nothing.

    Returns:
      float32 [N, S, S, C], whole numbers in 0–255.
    """
    size, channels = images.shape[1], images.shape[3]
    values = tf.reshape(tf.transpose(tf.cast(images, tf.int32), [0, 3, 1, 2]), [-1, size * size])
    histogram = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
    rarest = tf.reduce_min(tf.where(histogram > 0, histogram, size * size), axis=1, keepdims=True)
    step = (size * size - rarest) // 255  # 0 for a flat image, which stays as it is
    table = (tf.cumsum(histogram, axis=1, exclusive=True) + step // 2) // tf.maximum(step, 1)
    mapped = tf.where(step == 0, values, tf.gather(tf.minimum(table, 255), values, batch_dims=1))
    return tf.transpose(tf.reshape(tf.cast(mapped, tf.float32), [-1, channels, size, size]), [0, 2, 3, 1])


def _unchanged(images, parameters):
    return images


def _nothing(draws):
    return None


def _per_image(values):
    """[N, 1] to [N, 1, 1, 1]."""
    return values[:, :, None, None]


def _between(low, high, draws):
    return low + (high - low) * draws


def _quantile(sampler, draws):
    """What one of KerasCV's factor samplers gives at the quantiles `draws`: normal and clipped, uniform, or one value always."""
    from keras_cv.core import NormalFactorSampler, UniformFactorSampler

    if isinstance(sampler, NormalFactorSampler):
        return tf.clip_by_value(sampler.mean + sampler.stddev * tf.math.ndtri(draws), sampler.min_value, sampler.max_value)
    if isinstance(sampler, UniformFactorSampler):
        return _between(sampler.lower, sampler.upper, draws)
    return tf.fill(tf.shape(draws), tf.cast(sampler.value, tf.float32))
