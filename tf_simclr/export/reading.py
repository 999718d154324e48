"""Images to the network's input inside an exported model: each within its bounds, and a bad one harms no other."""

import dataclasses

import tensorflow as tf

from tf_simclr.data import decode
from tf_simclr.data.tolerant import run_once, squares_of, without_errors

OK = "ok"
NOT_FINITE = "pixels must be finite, got NaN or infinity"
OUT_OF_RANGE = "pixels must be in [0, 1], got others; divide bytes by 255"
_SLACK = 0.01  # what resizing may leave beside [0, 1]
_THREADS = 16  # that decode one request's images


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may hold at most: images in a batch, pixels of an image, bytes of an encoded image."""

    max_batch: int = 1024
    max_pixels: int = 100_000_000
    max_bytes: int = 100_000_000


def take_pixels(images, spec, limits):
    """Resizes a batch of images that are pixels already.

    Args:
      images: float32 [n, H, W, 1 or 3] in [0, 1].
      spec: a resolved `ModelConfig`.
      limits: a `Limits`.

    Returns:
      squares: float32 [n, S, S, C] in [0, 1]; black where the image is bad.
      status: string [n], "ok" or what is required of the image.

    Raises:
      tf.errors.InvalidArgumentError: too many images or pixels, none, or another number of channels (when the operation runs).
    """
    shape = tf.shape(images)
    pixels = tf.cast(shape[1], tf.int64) * tf.cast(shape[2], tf.int64)
    checks = [
        _batch_is_allowed(images, limits),
        tf.debugging.Assert(
            (pixels > 0) & (pixels <= limits.max_pixels),
            [f"images must have 1 to {limits.max_pixels} pixels, got height and width", shape[1:3]],
        ),
        tf.debugging.Assert((shape[3] == 1) | (shape[3] == 3), ["images must have 1 or 3 channels, got", shape[3]]),
    ]
    with tf.control_dependencies(checks):
        images = tf.identity(images)
    finite = tf.reduce_all(tf.math.is_finite(images), axis=[1, 2, 3])
    inside = tf.reduce_all((images >= -_SLACK) & (images <= 1 + _SLACK), axis=[1, 2, 3])
    status = tf.where(finite, tf.where(inside, OK, OUT_OF_RANGE), NOT_FINITE)
    usable = decode.convert_channels(tf.where((status == OK)[:, None, None, None], images, 0.0), spec.channels)
    return decode.resize_batch(usable, spec.image_size), status


def read_files(encoded, spec, limits):
    """Decodes a batch of encoded images, in parallel.

    Args:
      encoded: string [n], contents of image files.
      spec: a resolved `ModelConfig`.
      limits: a `Limits`.

    Returns:
      squares, status: as of `take_pixels`.

    Raises:
      tf.errors.InvalidArgumentError: too many images (when the operation runs).
    """
    with tf.control_dependencies([_batch_is_allowed(encoded, limits)]):
        encoded = tf.identity(encoded)
    wrong_size, wrong_kind, damaged = (
        f"must have 1 to {limits.max_bytes} bytes",
        "must be a JPEG, PNG, GIF or BMP image",
        f"must be a whole image of 1 to {limits.max_pixels} pixels, but cannot be read as one",
    )
    size = tf.cast(tf.strings.length(encoded), tf.int64)
    sized, known = (size > 0) & (size <= limits.max_bytes), decode.is_known(encoded)
    readable = sized & known
    squares, whole = tf.cond(
        (tf.size(encoded) == 1) & tf.reduce_all(readable & decode.is_photo(encoded)),
        lambda: _read_photo(encoded[0], spec, limits),
        lambda: _read_some(encoded, tf.where(readable)[:, 0], spec, limits),
    )
    status = tf.where(sized, tf.where(known, tf.where(whole, OK, damaged), wrong_kind), wrong_size)
    return tf.ensure_shape(squares, [None, spec.image_size, spec.image_size, spec.channels]), status


def _batch_is_allowed(batch, limits):
    count = tf.shape(batch, tf.int64)[0]
    return tf.debugging.Assert(count <= limits.max_batch, [f"a batch must have at most {limits.max_batch} images, got", count])


def _read_some(encoded, readable, spec, limits):
    """Squares of all encoded images, and whether each is whole, bool [n]; only those at the places `readable`, int64 [m], are read."""

    def read_one(content):
        return decode.read(content, spec.channels, spec.background, max_pixels=limits.max_pixels)

    return squares_of(tf.gather(encoded, readable), readable, tf.size(encoded, tf.int64), read_one, spec, _THREADS)


def _read_photo(content, spec, limits):
    """`_read_some` for one JPEG or PNG, the request that should be quick.

    Starting a pipeline takes time by the size of the graph within: no more is in it than what may fail.
    """

    def read_one(content):
        return True, decode.read_stored(content, max_pixels=limits.max_pixels, photo=True)

    read = without_errors(tf.data.Dataset.from_tensors(content), read_one)
    nothing = tf.data.Dataset.from_tensors((False, tf.zeros([1, 1, 1], tf.uint8)))
    whole, stored = run_once(read.concatenate(nothing).take(1))
    image = decode.show(stored, content, spec.channels, spec.background)
    return decode.resize_to_square(image, spec.image_size)[None], whole[None]
