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
    readable = sized & known
    squares, whole = tf.cond(
        (count == 1) & tf.reduce_all(readable & decode.is_photo(encoded)),
        lambda: _read_photo(encoded[0], spec, limits),
        lambda: _read_some(encoded, tf.where(readable)[:, 0], spec, limits),
    )
    status = tf.where(sized, tf.where(known, tf.where(whole, OK, damaged), wrong_kind), wrong_size)
    return tf.ensure_shape(squares, [None, spec.image_size, spec.image_size, spec.channels]), status


def _read_some(encoded, readable, spec, limits):
    """Squares of all encoded images, and whether each is whole, bool [n]; only those at the places `readable`, int64 [m], are read."""
    count = tf.size(encoded, tf.int64)

    def read_one(place, content):
        image = decode.read(content, spec.channels, spec.background, max_pixels=limits.max_pixels)
        return place, decode.resize_to_square(image, spec.image_size)

    read = tf.data.Dataset.from_tensor_slices((readable, tf.gather(encoded, readable)))
    read = _without_errors(read, read_one, num_parallel_calls=_THREADS)
    # One more than there are images, since a batch cannot be empty.
    black = tf.zeros([spec.image_size, spec.image_size, spec.channels])
    last = tf.data.Dataset.from_tensors((count, black))
    places, squares = _run(read.concatenate(last).batch(count + 1))
    squares = tf.scatter_nd(places[:, None], squares, tf.concat([[count + 1], tf.shape(black, tf.int64)], axis=0))[:count]
    return squares, tf.reduce_any(tf.range(count)[:, None] == places, axis=1)


def _read_photo(content, spec, limits):
    """`_read_some` for one JPEG or PNG, the request that should be quick.

    Starting a pipeline takes time by the size of the graph within: no more is in it than what may fail.
    """

    def read_one(content):
        return True, decode.read_stored(content, max_pixels=limits.max_pixels, photo=True)

    read = _without_errors(tf.data.Dataset.from_tensors(content), read_one)
    nothing = tf.data.Dataset.from_tensors((False, tf.zeros([1, 1, 1], tf.uint8)))
    whole, stored = _run(read.concatenate(nothing).take(1))
    image = decode.show(stored, content, spec.channels, spec.background)
    return decode.resize_to_square(image, spec.image_size)[None], whole[None]


def _without_errors(dataset, function, **options):
    return dataset.map(tf.autograph.experimental.do_not_convert(function), **options).ignore_errors()


def _run(dataset):
    """The one element of a pipeline, which is not optimised: anew for every request that would take longer than running it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options).get_single_element()
