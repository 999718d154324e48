"""Encoded images to the network's input inside an exported model: each within its bounds, and a bad one harms no other."""

import dataclasses

import tensorflow as tf

from tf_simclr.data import decode

OK = "ok"
_THREADS = 16  # that decode one request's images


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may hold at most: images in a batch, pixels of an image, bytes of an encoded image."""

    max_batch: int = 1024
    max_pixels: int = 100_000_000
    max_bytes: int = 100_000_000


def read_all(encoded, spec, limits):
    """Decodes a batch of encoded images, in parallel.

    A data pipeline inside of the graph, because it is the only place where TensorFlow goes on after an operation has failed.

    Args:
      encoded: string [n], contents of image files.
      spec: a resolved `ModelConfig`.
      limits: a `Limits`.

    Returns:
      squares: float32 [n, S, S, C] in [0, 1]; black where the image is bad.
      status: string [n], "ok" or what is required of the image.
    """
    wrong_size, wrong_kind, damaged = (
        f"must have 1 to {limits.max_bytes} bytes",
        "must be a JPEG, PNG, GIF or BMP image",
        f"must be a whole image of 1 to {limits.max_pixels} pixels, but cannot be read as one",
    )
    size, count = tf.strings.length(encoded), tf.size(encoded, tf.int64)
    sized, known = (size > 0) & (size <= limits.max_bytes), decode.is_known(encoded)
    readable = tf.where(sized & known)[:, 0]

    def read_one(place, content):
        image = decode.read(content, spec.channels, spec.background, max_pixels=limits.max_pixels)
        return place, decode.resize_to_square(image, spec.image_size)

    read = tf.data.Dataset.from_tensor_slices((readable, tf.gather(encoded, readable)))
    read = read.map(tf.autograph.experimental.do_not_convert(read_one), num_parallel_calls=_THREADS).ignore_errors()
    # One more than there are images, since a batch cannot be empty.
    black = tf.zeros([spec.image_size, spec.image_size, spec.channels])
    last = tf.data.Dataset.from_tensors((count, black))
    # Optimising the pipeline anew for every request would take longer than running it.
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    places, squares = read.concatenate(last).batch(count + 1).with_options(options).get_single_element()
    squares = tf.scatter_nd(places[:, None], squares, tf.concat([[count + 1], tf.shape(black, tf.int64)], axis=0))[:count]
    whole = tf.reduce_any(tf.range(count)[:, None] == places, axis=1)
    status = tf.where(sized, tf.where(known, tf.where(whole, OK, damaged), wrong_kind), wrong_size)
    return tf.ensure_shape(squares, [None, *black.shape]), status
