"""Image files to pixels, and pixels to the network's input: one meaning for training, evaluation and the exported model.

Graph operations only, so that the same functions run in `tf.data`, in a `tf.function` and inside a SavedModel.
"""

import tensorflow as tf


def match_channels(images, channels):
    """Grey to RGB by repetition, RGB to grey by luma; images uint8 or float [..., C] with static C in (1, 3)."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return tf.repeat(images, 3, axis=-1)
    return tf.image.rgb_to_grayscale(images)


def read(key, on_disk, channels):
    """Decodes a JPEG, PNG, GIF (its first frame) or BMP image, told apart by content.

    16-bit PNG keeps its high byte; transparency is dropped, which leaves the stored colours; CMYK becomes RGB. An orientation
    noted in EXIF is not applied.

    Args:
      key: scalar string, a file's path or its content.
      on_disk: bool, whether `key` is a path.
      channels: 1 grey or 3 RGB, whatever the file has.

    Returns:
      uint8 [H, W, channels].

    Raises:
      tf.errors.InvalidArgumentError: not an image of these formats (when the operation runs).
    """
    content = tf.io.read_file(key) if on_disk else key
    # Channels as stored: asking for others is an error in GIF and BMP.
    image = tf.io.decode_image(content, channels=0, expand_animations=False)
    stored = tf.shape(image)[2]
    colours = image[:, :, : stored - 1 + stored % 2]  # 2 and 4 channels end in alpha
    if channels == 3:
        return tf.ensure_shape(tf.tile(colours, [1, 1, 3 // tf.shape(colours)[2]]), [None, None, 3])
    grey = tf.cond(stored >= 3, lambda: match_channels(tf.ensure_shape(colours, [None, None, 3]), 1), lambda: colours)
    return tf.ensure_shape(grey, [None, None, 1])


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
