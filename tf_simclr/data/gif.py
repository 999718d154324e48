"""GIF files by graph operations: cut after the first frame, so that an animation costs no more than a picture."""

import tensorflow as tf

_IMAGE, _EXTENSION = 0x2C, 0x21


def first_frame(content):
    """The file as if it ended after its first frame.

    Args:
      content: scalar string that begins with "GIF".

    Returns:
      content: scalar string, the file up to its first frame and a trailer; as it was where no frame is found. A file of absurdly
        many blocks is cut within its first frame, or before it, and cannot be decoded.
      pixels: int64 scalar, of the larger of screen and frame, which a decoder makes room for.
    """
    length, padded = tf.strings.length(content), content + "\0"

    def byte(at):
        one = tf.strings.substr(padded, tf.minimum(at, length), 1)
        return tf.cast(tf.io.decode_raw(one, tf.uint8)[0], tf.int32)

    def word(at):
        return byte(at) + 256 * byte(at + 1)

    def table(flags):
        """Bytes of the colour table that a byte of flags announces."""
        return tf.where(flags & 0x80 > 0, 3 * tf.bitwise.left_shift(2, flags & 7), 0)

    def after_sub_blocks(at, left):
        def goes_on(at, left):
            return (at < length) & (left > 0) & (byte(at) > 0)

        at, left = tf.while_loop(goes_on, lambda at, left: (at + byte(at) + 1, left - 1), [at, left])
        return at + 1, left

    def goes_on(at, begin, left):
        return (at < length) & (begin < 0) & (left > 0) & ((byte(at) == _IMAGE) | (byte(at) == _EXTENSION))

    def step(at, begin, left):
        image = byte(at) == _IMAGE
        body = tf.where(image, at + 11 + table(byte(at + 9)), at + 2)
        at_next, left = after_sub_blocks(body, left - 1)
        return at_next, tf.where(image, at, begin), left

    # Blocks of 255 bytes are usual. A file of the shortest ones would take minutes: it is cut where this many are behind, and fails.
    most = 1000 + length // 16
    end, begin, left = tf.while_loop(goes_on, step, [13 + table(byte(10)), tf.constant(-1), most])
    found = begin >= 0
    sides = [(word(6), word(begin + 5)), (word(8), word(begin + 7))]
    width, height = (tf.cast(tf.where(found, tf.maximum(screen, frame), screen), tf.int64) for screen, frame in sides)
    cut = tf.strings.substr(content, 0, tf.minimum(end, length))
    return tf.where(found | (left <= 0), cut + ";", content), width * height
