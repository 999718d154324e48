"""Images read so that a bad one harms no other: in an exported model, and where every image gets an answer, bad ones as well."""

import numpy as np
import tensorflow as tf

from tf_simclr.data import decode
from tf_simclr.data.pipeline import THREADS, plain_batches, untuned


def squares_of(items, places, count, read_one, spec, threads):
    """Reads images of a batch in parallel, as evaluation sees them.

    A data pipeline inside of the graph, because it is the only place where TensorFlow goes on after an operation has failed.

    Args:
      items: tensor [m], what to read.
      places: int64 [m], the item's place in the batch; different ones.
      count: int64 scalar n, images of the batch.
      read_one: a function from an item to its pixels, uint8 [H, W, C], by graph operations.
      spec: a `ModelConfig` with image_size S and channels C.
      threads: how many images are read at a time.

    Returns:
      squares: float32 [n, S, S, C] in [0, 1], black where nothing was to be read or it failed.
      whole: bool [n], where it succeeded.
    """

    def read(place, item):
        return place, decode.resize_to_square(read_one(item), spec.image_size)

    images = without_errors(tf.data.Dataset.from_tensor_slices((places, items)), read, num_parallel_calls=threads)
    # One more than there are images, since a batch cannot be empty.
    black = tf.zeros([spec.image_size, spec.image_size, spec.channels])
    last = tf.data.Dataset.from_tensors((count, black))
    found, squares = run_once(images.concatenate(last).batch(count + 1))
    squares = tf.scatter_nd(found[:, None], squares, tf.concat([[count + 1], tf.shape(black, tf.int64)], axis=0))[:count]
    whole = tf.reduce_any(tf.range(count)[:, None] == found, axis=1)
    return tf.ensure_shape(squares, [None, *black.shape]), whole


def without_errors(dataset, function, **options):
    """`dataset.map` that leaves out what fails."""
    return dataset.map(tf.autograph.experimental.do_not_convert(function), **options).ignore_errors()


def run_once(dataset):
    """The one element of a pipeline, which is not optimised: anew for every batch that would take longer than running it."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options).get_single_element()


def tolerant_batches(source, *, spec, batch_size, limits):
    """`plain_batches` of the good images of a source that may hold bad ones.

    Memory holds a few batches, whatever the number of images.

    Args:
      source: a `Source`.
      spec: a `ModelConfig` with image_size S, channels C and background.
      batch_size: images of a batch; the last one may be smaller.
      limits: a `DataConfig`: max_pixels, max_bytes; what has more is bad, and not read or decoded.

    Returns:
      tf.data.Dataset of int64 [n], numbers of good images in the source, ascending, and float32 [n, S, S, C] in [0, 1]. What is bad is
      left out: the numbers between are its own.
    """
    numbers = tf.data.Dataset.range(len(source)).batch(batch_size)
    if source.images is not None:
        return untuned(tf.data.Dataset.zip((numbers, plain_batches(source, spec=spec, batch_size=batch_size))))
    storage = source.storage

    def has_size(numbers):
        return np.array([_size_is_allowed(storage, source.encoded[number], limits) for number in numbers])

    def with_size(numbers):
        # Python, for TensorFlow has no operation that asks a file for its size; once for a batch.
        allowed = tf.numpy_function(has_size, [numbers], tf.bool, stateful=False)
        return tf.boolean_mask(numbers, tf.ensure_shape(allowed, [None]))

    def read(number):
        content = storage.content(keys[number])
        image = decode.read(content, spec.channels, spec.background, pillow=True, max_pixels=limits.max_pixels)
        return number, decode.resize_to_square(image, spec.image_size)

    plain = tf.autograph.experimental.do_not_convert
    with tf.device("CPU:0"):
        keys = storage.tensor(source.encoded)
        images = without_errors(numbers.map(plain(with_size)).unbatch(), read, num_parallel_calls=THREADS)
        return untuned(images.batch(batch_size).prefetch(1))


def _size_is_allowed(storage, key, limits):
    try:
        return 0 < storage.size(key) <= limits.max_bytes
    except (OSError, ValueError):  # not there, or a path that no file can have
        return False
