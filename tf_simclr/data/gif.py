"""GIF files by graph operations: cut after the first frame, so that an animation costs no more than a picture."""

import tensorflow as tf

_IMAGE, _EXTENSION = 0x2C, 0x21


def first_frame(content):
    """The file as if it ended after its first frame.

    Args:
      content: scalar string that begins with "GIF".

    Returns:
      content: scalar string, the file up to its first frame and a trailer; as it was where no frame is found.
      pixels: int64 scalar, of the larger of screen and frame, which a decoder makes room for.
    """
    length = tf.strings.length(content)

    def byte(at):
        one = tf.strings.substr(content + "\0", tf.minimum(at, length), 1)
        return tf.cast(tf.io.decode_raw(one, tf.uint8)[0], tf.int32)

    def word(at):
        return byte(at) + 256 * byte(at + 1)

    def table(flags):
        """Bytes of the colour table that a byte of flags announces."""
        return tf.where(flags & 0x80 > 0, 3 * tf.bitwise.left_shift(2, flags & 7), 0)

    def after_sub_blocks(at):
        return tf.while_loop(lambda at: (at < length) & (byte(at) > 0), lambda at: (at + byte(at) + 1,), [at])[0] + 1

    def goes_on(at, begin):
        return (at < length) & (begin < 0) & ((byte(at) == _IMAGE) | (byte(at) == _EXTENSION))

    def step(at, begin):
        image = byte(at) == _IMAGE
        body = tf.where(image, at + 11 + table(byte(at + 9)), at + 2)
        return after_sub_blocks(body), tf.where(image, at, begin)

    end, begin = tf.while_loop(goes_on, step, [13 + table(byte(10)), tf.constant(-1)])
    found = begin >= 0
    sides = [(word(6), word(begin + 5)), (word(8), word(begin + 7))]
    width, height = (tf.cast(tf.where(found, tf.maximum(screen, frame), screen), tf.int64) for screen, frame in sides)
    cut = tf.strings.substr(content, 0, tf.where(found, tf.minimum(end, length), length))
    return tf.where(found, cut + ";", content), width * height
