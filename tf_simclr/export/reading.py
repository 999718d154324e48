"""Encoded images to the network's input inside an exported model: each within its bounds, and a bad one harms no other."""

import dataclasses

import tensorflow as tf

from tf_simclr.data import decode
from tf_simclr.data.tolerant import squares_of

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
    size = tf.strings.length(encoded)
    sized, known = (size > 0) & (size <= limits.max_bytes), decode.is_known(encoded)
    readable = tf.where(sized & known)[:, 0]

    def read_one(content):
        return decode.read(content, spec.channels, spec.background, max_pixels=limits.max_pixels)

    squares, whole = squares_of(tf.gather(encoded, readable), readable, tf.size(encoded, tf.int64), read_one, spec, _THREADS)
    return squares, tf.where(sized, tf.where(known, tf.where(whole, OK, damaged), wrong_kind), wrong_size)
