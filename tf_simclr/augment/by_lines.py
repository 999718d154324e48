"""The views of a batch of small images of one size, compiled for the CPU.

Every step works on whole lines of pixels: columns are resampled while pixels lie by columns, rows while they lie by rows, and colours
change in between. So a step goes through its pixels once, by vectors, and a batch stays on one core from its bytes to its views.
"""

import functools

import tensorflow as tf

from tf_simclr.augment import blur, crop, views


def make_views(images, numbers, size, crops):
    """Views of a batch, for `tf.function(jit_compile=True)`.

    Args:
      images: uint8 [B, H, W, C] of known shape.
      numbers: what `on_host.prepare` returns, with the V views of every image: [B, V, …].
      size: S, side of the output in pixels.
      crops: see `views.crops_of`.

    Returns:
      A list of V float32 [B, S, S, C] in [0, 1].
    """
    height, width, channels = images.shape[1:]
    step = functools.partial(_step, numbers["boxes"][0, 0, 0] >= 0.0)  # a draw, so it is
    sample = functools.partial(_sample, height=height, width=width, size=size, crops=crops)
    by_columns = tf.reshape(step(_turn, tf.reshape(images, [-1, height, width * channels])), [-1, width, channels * height])
    made = []
    for view in range(numbers["boxes"].shape[1]):
        of_view = {name: of[:, view] for name, of in numbers.items()}
        columns, rows = step(sample, of_view["boxes"])
        weights = step(functools.partial(_weigh, size=size), of_view["sigma"]) if "sigma" in of_view else None
        pixels = tf.reshape(_resample(step, by_columns, columns, weights), [-1, size, channels, height])
        if "colour" in of_view:
            of_rows = tf.transpose(step(_mean, pixels), [0, 2, 1])
            mean = _mean(_resample(step, of_rows, rows, weights))
            pixels = step(_recolour, pixels, of_view["colour"], mean)
        by_rows = step(_turn, tf.reshape(pixels, [-1, size * channels, height]))
        views_of_rows = _resample(step, tf.reshape(by_rows, [-1, height, size * channels]), rows, weights, finish=_clip)
        made.append(tf.reshape(views_of_rows, [-1, size, size, channels]))
    return made


def _step(always, function, *tensors):
    """What a function returns, computed in a branch that is `always` taken, as XLA does not know.

    So it does not merge steps, which would compute pixels again wherever they are read, nor share one of them among cores, which would have
    to fetch from each other what they have written. Between steps a reshape costs nothing; within, it keeps XLA from using vectors.
    """
    made = []

    def taken():
        made.append(function(*tensors))
        return made[0]

    def other():
        # It reads all of the tensors, else what only one branch needs were moved into that; and it sorts, else both were computed.
        some = tf.stack([0.0, *(tf.cast(tf.reshape(of, [-1])[0], tf.float32) for of in tensors)])
        return tf.nest.map_structure(lambda of: tf.fill(of.shape, tf.cast(tf.sort(some)[0], of.dtype)), made[0])

    return tf.cond(always, taken, other)


def _turn(lines):
    """[B, P, L] as [B · L, P]: in that shape, since XLA would otherwise leave the pixels where they are and make the next step slow."""
    return tf.reshape(tf.transpose(lines, [0, 2, 1]), [-1, lines.shape[1]])


def _sample(boxes, height, width, size, crops):
    """How columns and rows are resampled, see `_resample`."""
    boxes, flips = views.boxes_of(boxes, height, width, size, crops)
    top, left, tall, wide = tf.unstack(boxes, axis=1)
    return tuple(
        crop.places(*interval, size, mirrored)
        if crop.lies_between_two(pixels, size)
        else crop.resampling_matrix(*interval, pixels, size, mirrored)
        for *interval, pixels, mirrored in ((left, wide, width, flips), (top, tall, height, None))
    )


def _weigh(sigma, size):
    """Weights in a blurred line of the line itself and of those around it, float32 [B, S, 2 · radius + 1]."""
    line, reach = tf.range(size, dtype=tf.float32)[:, None], blur.radius(size)
    around = line + tf.range(-reach, reach + 1, dtype=tf.float32)
    return tf.squeeze(blur.kernel(sigma[:, None, None, None], line, around, size), axis=2)


def _resample(step, lines, sampling, weights, finish=tf.identity):
    """Samples of lines of pixels, blurred if there are weights.

    Args:
      step: see `_step`.
      lines: P lines of L pixels, [B, P, L], uint8 in 0–255 or float32 in [0, 1].
      sampling: float32, places of S samples among the lines, [B, S], see `crop.places`; or their matrix, [B, S, P].
      weights: see `_weigh`; None for no blur.
      finish: what the last step does besides.

    Returns:
      float32 [B, S, L].
    """
    resample = _interpolate if sampling.shape.rank == 2 else _multiply
    if weights is None:
        return step(lambda *of: finish(resample(*of)), lines, sampling)
    return step(lambda *of: finish(_blur(*of)), step(resample, lines, sampling), weights)


def _interpolate(lines, places):
    before = tf.floor(places)
    first = tf.cast(before, tf.int32)
    second = tf.minimum(first + 1, lines.shape[1] - 1)
    first, second = (_floats(tf.gather(lines, which, batch_dims=1)) for which in (first, second))
    return first + (places - before)[..., None] * (second - first)


def _multiply(lines, matrix):
    return matrix @ _floats(lines)


def _floats(pixels):
    return tf.image.convert_image_dtype(pixels, tf.float32)


def _blur(lines, weights):
    size, taken = lines.shape[1], weights.shape[2]
    padded = tf.pad(lines, [[0, 0], [taken // 2] * 2, [0, 0]])
    return tf.add_n([weights[:, :, which, None] * padded[:, which : which + size] for which in range(taken)])


def _mean(lines):
    return tf.reduce_mean(lines, axis=1)


def _recolour(pixels, colour, mean):
    """Pixels [B, S, C, H] by the map of channels that `colour` is, see `colour.compose`, and the mean of the view, [B, C]."""
    matrix, of_mean = tf.unstack(colour, axis=1)
    offset = tf.reduce_sum(of_mean * mean[:, None], axis=2)
    channels = range(pixels.shape[2])
    mixed = [tf.add_n([matrix[:, to, of, None, None] * pixels[:, :, of] for of in channels]) for to in channels]
    return tf.stack([channel + offset[:, to, None, None] for to, channel in enumerate(mixed)], axis=2)


def _clip(pixels):
    return tf.clip_by_value(pixels, 0.0, 1.0)
