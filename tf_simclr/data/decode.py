"""Image files to pixels, and pixels to the network's input: one meaning for training, evaluation and the exported model.

Graph operations only, so that the same functions run in `tf.data`, in a `tf.function` and inside a SavedModel.
"""

import tensorflow as tf

from tf_simclr.data import bmp, by_pillow, exif

BACKGROUNDS = {"white": 255, "black": 0}


def match_channels(images, channels):
    """Grey to RGB by repetition, RGB to grey by luma; images uint8 or float [..., C] with static C in (1, 3)."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return tf.repeat(images, 3, axis=-1)
    return tf.image.rgb_to_grayscale(images)


# AutoGraph would read all of this for half a minute, and find nothing to convert.
@tf.autograph.experimental.do_not_convert
def read(content, channels, background="white", pillow=False):
    """Decodes a JPEG, PNG, GIF (its first frame) or BMP image, told apart by content, and turns it upright by its EXIF.

    16-bit PNG keeps its high byte; CMYK becomes RGB. Pixels with alpha are laid on the background; a GIF's transparent pixels are
    black, a BMP's fourth byte means nothing. docs/images.md has the rules for every format.

    Args:
      content: scalar string, the encoded image.
      channels: 1 grey or 3 RGB, whatever the file has.
      background: "white" or "black".
      pillow: whether what graph operations cannot read (WebP, rare kinds of BMP) is read by Pillow; not in an exported model,
        which has no Python.

    Returns:
      uint8 [H, W, channels].

    Raises:
      tf.errors.OpError: not an image of these formats (when the operation runs).
    """
    image = _pixels(tf.convert_to_tensor(content), pillow)
    stored = tf.shape(image)[2]
    colours = tf.cond(stored % 2 == 0, lambda: _over(image, BACKGROUNDS[background]), lambda: image)  # 2 and 4 channels end in alpha
    if channels == 3:
        return tf.ensure_shape(tf.tile(colours, [1, 1, 3 // tf.shape(colours)[2]]), [None, None, 3])
    grey = tf.cond(stored >= 3, lambda: match_channels(tf.ensure_shape(colours, [None, None, 3]), 1), lambda: colours)
    return tf.ensure_shape(grey, [None, None, 1])


def _over(image, level):
    """Colours laid on a grey of that level by their alpha, the last channel."""
    # 16 bits hold 255 · 255 and the steps of a division by 255 in shifts; TensorFlow divides integers one by one.
    colours, alpha = tf.cast(image[..., :-1], tf.uint16), tf.cast(image[..., -1:], tf.uint16)
    mixed = colours * alpha + tf.constant(level, tf.uint16) * (255 - alpha) + 128
    eight = tf.constant(8, tf.uint16)
    return tf.cast(tf.bitwise.right_shift(mixed + tf.bitwise.right_shift(mixed, eight), eight), tf.uint8)


def _pixels(content, pillow):
    """uint8 [H, W, 1 to 4], upright, channels as stored."""
    magic = tf.strings.substr(content, 0, 2)

    def by_decode_image():
        return tf.io.decode_image(content, channels=0, expand_animations=False)

    def by_python():
        image = tf.numpy_function(by_pillow.pixels, [content], tf.uint8, stateful=False)
        return tf.ensure_shape(image, [None, None, None])

    def common():
        # JPEG and PNG, despite its name. Accurate, because the fast inverse DCT, TensorFlow's default, is off by up to five levels.
        image = tf.io.decode_jpeg(content, channels=0, dct_method="INTEGER_ACCURATE")
        return exif.turn_upright(image, exif.orientation(content))

    def rare():
        # Without Pillow, decode_image says what it accepts, and fails.
        others = by_python if pillow else by_decode_image
        return tf.cond(magic == b"BM", lambda: bmp.pixels(content, by_python if pillow else None), others)

    def gif_or_rare():
        return tf.cond(magic == b"GI", by_decode_image, rare)

    return tf.cond((magic == b"\xff\xd8") | (magic == b"\x89P"), common, gif_or_rare)


def resize_to_square(image, size):
    """The evaluation view of one image: its central square, resized.

    Args:
      image: uint8 or float [H, W, C] in 0–255.
      size: int, side of the output in pixels.

    Returns:
      float32 [size, size, C] in [0, 1].
    """
    return resize_batch(tf.cast(image, tf.float32)[None] * (1.0 / 255.0), size)[0]


def resize_batch(images, size):
    """The evaluation view of a batch: the central square, resized bilinearly with antialiasing; a square of that size stays as it is.

    Args:
      images: float [B, H, W, C] in [0, 1]; H and W may be unknown until it runs.
      size: int, side of the output in pixels.

    Returns:
      float32 [B, size, size, C] in [0, 1].
    """
    images = tf.cast(images, tf.float32)
    if images.shape[1:3].as_list() == [size, size]:
        return images
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, top : top + side, left : left + side]
    return tf.image.resize(square, [size, size], antialias=True)
