"""Which way up a photograph was taken: the orientation that EXIF notes, found and applied by graph operations alone.

So that the exported model turns an image exactly as training did, without Python. Whatever is damaged or missing means: upright.
"""

import tensorflow as tf

# EXIF leads the file: behind SOI and at most JFIF in a JPEG, among the first chunks of a PNG.
_HEAD = 16384
# One regular expression instead of a walk over segments, directory and entries, which took longer than decoding the image. Any byte
# is \C, since RE2 reads UTF-8. The directory of 12-byte entries follows the 8-byte header in whatever camera or program wrote it;
# the entry is tag 0x0112, type 3 (16 bits), count 1, value. Byte order decides how each of them is spelt.
_LITTLE = r"II\*\x00\x08\x00\x00\x00\C\C(?:\C{12}){0,60}?\x12\x01\x03\x00\x01\x00\x00\x00([\x01-\x08])\x00"
_BIG = r"MM\x00\*\x00\x00\x00\x08\C\C(?:\C{12}){0,60}?\x01\x12\x00\x03\x00\x00\x00\x01\x00([\x01-\x08])"
_PATTERN = rf"\A\C*?(?:Exif\x00\x00|eXIf)(?:{_LITTLE}|{_BIG})\C*\z"


def is_noted(content):
    """Whether there is an orientation to be found in an encoded image, bool scalar: quicker than to find it."""
    return tf.strings.regex_full_match(tf.strings.substr(content, 0, _HEAD), _PATTERN)


def orientation(content):
    """The orientation noted in a JPEG's APP1 segment or a PNG's eXIf chunk.

    Args:
      content: scalar string, an encoded image.

    Returns:
      int32 scalar, 1 to 8; 1, upright, where none is noted.
    """
    head = tf.strings.substr(content, 0, _HEAD)
    value = tf.strings.regex_replace(head, _PATTERN, r"\1\2", replace_global=False)
    # What does not match comes back as it is, and no image is one byte long.
    code = tf.strings.unicode_decode(tf.where(tf.strings.length(value) == 1, value, "\x01"), "UTF-8")
    return tf.reshape(code, [])


def turn_upright(image, noted):
    """Undoes an orientation.

    Args:
      image: [H, W, C] as stored.
      noted: int32 scalar, 1 to 8.

    Returns:
      [H, W, C], or [W, H, C] where `noted` is 5 to 8.
    """

    def turned():
        transposed = tf.cond(noted >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        across, down = _is_one_of(noted, (2, 3, 6, 7)), _is_one_of(noted, (3, 4, 7, 8))
        return tf.reverse(transposed, tf.boolean_mask([0, 1], [down, across]))

    return tf.cond(noted > 1, turned, lambda: image)


def _is_one_of(value, numbers):
    return tf.reduce_any(value == tf.constant(numbers, value.dtype))
