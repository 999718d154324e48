"""BMP images by graph operations: TensorFlow's decoder, and what it leaves out, the palette."""

import tensorflow as tf


def pixels(content, otherwise=None):
    """Decodes an uncompressed BMP of 8 (palette), 24 or 32 bits a pixel; the fourth byte of 32 is padding.

    Args:
      content: scalar string that begins with "BM".
      otherwise: function without arguments that gives the pixels of other kinds (1, 4 or 16 bits, run-length encoded).

    Returns:
      uint8 [H, W, 3].

    Raises:
      tf.errors.InvalidArgumentError: another kind without `otherwise`, or a damaged file (when the operation runs).
    """
    head = tf.io.decode_raw(tf.strings.substr(content, 0, 54), tf.uint8)
    head = tf.cast(tf.pad(head, [[0, tf.maximum(54 - tf.size(head), 0)]]), tf.int32)

    def number(place, size):
        return tf.reduce_sum(head[place : place + size] * tf.constant([256**power for power in range(size)]))

    begin, header, bits, compression = number(10, 3), number(14, 3), number(28, 2), number(30, 3)
    # Compression 3 is none with the order of the colours spelt out, and everyone spells the usual one.
    plain = (header >= 40) & (begin >= 14 + header)
    known = plain & (((compression == 0) & ((bits == 8) | (bits == 24) | (bits == 32))) | ((compression == 3) & (bits == 32)))

    def decoded():
        return tf.io.decode_bmp(content, channels=0)

    def with_palette():
        colours = tf.reshape(tf.io.decode_raw(tf.strings.substr(content, 14 + header, (begin - 14 - header) // 4 * 4), tf.uint8), [-1, 4])
        table = tf.pad(colours[:256, 2::-1], [[0, tf.maximum(256 - tf.shape(colours)[0], 0)], [0, 0]])
        return tf.gather(table, tf.cast(decoded()[..., 0], tf.int32))

    def read():
        return tf.cond(bits == 8, with_palette, lambda: decoded()[..., :3])

    def refused():
        words = ["BMP must be uncompressed with 8, 24 or 32 bits a pixel; bits and compression:", bits, compression]
        with tf.control_dependencies([tf.debugging.Assert(False, words)]):
            return tf.zeros([1, 1, 3], tf.uint8)

    return tf.ensure_shape(tf.cond(known, read, otherwise or refused), [None, None, None])
