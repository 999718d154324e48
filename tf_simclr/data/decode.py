"""Image files to pixels, and pixels to the network's input: one meaning for training, evaluation and the exported model.

Graph operations only, so that the same functions run in `tf.data`, in a `tf.function` and inside a SavedModel.
"""

import functools

import tensorflow as tf

from tf_simclr.data import bmp, by_pillow, exif, gif

BACKGROUNDS = {"white": 255, "black": 0}
_KINDS = (b"\xff\xd8", b"\x89P", b"GI", b"BM")
_PHOTOS = 2  # the first of them, JPEG and PNG, may note which way up they were taken


def match_channels(images, channels):
    """Grey to RGB by repetition, RGB to grey by luma; images uint8 or float [..., C] with static C in (1, 3)."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return tf.repeat(images, 3, axis=-1)
    return tf.image.rgb_to_grayscale(images)


def convert_channels(images, channels):
    """`match_channels` of images whose 1 or 3 channels are known only when it runs."""
    if channels == 3:
        return tf.ensure_shape(tf.tile(images, [1] * (images.shape.rank - 1) + [3 // tf.shape(images)[-1]]), [*images.shape[:-1], 3])
    grey = tf.cond(tf.shape(images)[-1] == 3, lambda: tf.image.rgb_to_grayscale(images), lambda: images)
    return tf.ensure_shape(grey, [*images.shape[:-1], 1])


# AutoGraph would read all of this for half a minute, and find nothing to convert.
@tf.autograph.experimental.do_not_convert
def read(content, channels, background="white", pillow=False, max_pixels=None):
    """Decodes a JPEG, PNG, GIF (its first frame) or BMP image, told apart by content, and turns it upright by its EXIF.

    16-bit PNG keeps its high byte; CMYK becomes RGB. Pixels with alpha are laid on the background; a GIF's transparent pixels are
    black, a BMP's fourth byte means nothing. docs/images.md has the rules for every format.

    Args:
      content: scalar string, the encoded image.
      channels: 1 grey or 3 RGB, whatever the file has.
      background: "white" or "black".
      pillow: whether what graph operations cannot read (WebP, rare kinds of BMP) is read by Pillow; not in an exported model,
        which has no Python.
      max_pixels: a larger image fails, before it is decoded; None takes any.

    Returns:
      uint8 [H, W, channels].

    Raises:
      tf.errors.OpError: not an image of these formats, or too large (when the operation runs).
    """
    content = tf.convert_to_tensor(content)
    return show(read_stored(content, pillow, max_pixels), content, channels, background)


def show(stored, content, channels, background="white"):
    """The second half of `read`, which never fails: `stored`, the pixels that `read_stored` took out of `content`, as they are meant."""
    has = tf.shape(stored)[2]

    def in_full():
        upright = exif.turn_upright(stored, tf.where(is_photo(content), exif.orientation(content), 1))
        has_alpha = has % 2 == 0  # the last of 2 or 4 channels
        return convert_channels(tf.cond(has_alpha, lambda: _over(upright, BACKGROUNDS[background]), lambda: upright), channels)

    # Most images need none of it.
    shown = tf.cond((has == channels) & ~exif.is_noted(content), lambda: stored, _apart(in_full))
    return tf.ensure_shape(shown, [None, None, channels])


def _apart(branch):
    """A branch of `tf.cond` that costs nothing where it is not taken.

    In a graph all operations of all branches are visited, those not taken as dead ones: for an ordinary image that took longer than to
    decode it. A function that is not inlined is a single operation.
    """

    def call():
        if tf.executing_eagerly():
            return branch()
        return tf.function(branch, autograph=False, experimental_attributes={"_noinline": True})()

    return call


def _over(image, level):
    """Colours laid on a grey of that level by their alpha, the last channel."""
    # 16 bits hold 255 · 255 and the steps of a division by 255 in shifts; TensorFlow divides integers one by one.
    colours, alpha = tf.cast(image[..., :-1], tf.uint16), tf.cast(image[..., -1:], tf.uint16)
    mixed = colours * alpha + tf.constant(level, tf.uint16) * (255 - alpha) + 128
    eight = tf.constant(8, tf.uint16)
    return tf.cast(tf.bitwise.right_shift(mixed + tf.bitwise.right_shift(mixed, eight), eight), tf.uint8)


def is_known(contents):
    """Whether encoded images, string [n], begin as JPEG, PNG, GIF or BMP files do; bool [n]."""
    return _kind(contents) < len(_KINDS)


def is_photo(contents):
    """Whether encoded images, string [n], begin as JPEG or PNG files do; bool [n]."""
    return _kind(contents) < _PHOTOS


def _kind(contents):
    """Places in `_KINDS`, by the first two bytes; their number where none fits. int32, of the shape of `contents`."""
    magic = tf.strings.substr(contents, 0, 2)  # of less, what there is
    return tf.argmax(tf.stack([*(magic == start for start in _KINDS), magic == magic]), axis=0, output_type=tf.int32)  # noqa: PLR0124


def read_stored(content, pillow=False, max_pixels=None, photo=False):
    """The first half of `read`: uint8 [H, W, 1 to 4], as stored. `photo` leaves out what only GIF and BMP need: JPEG or PNG is given."""

    def bounded(content, pixels):
        if max_pixels is None:
            return content
        # Nothing can be decoded of nothing: quicker than an assertion, which would make the branches below stateful.
        return tf.where((pixels > 0) & (pixels <= max_pixels), content, "")

    def jpeg():
        # Accurate, because the fast inverse DCT, TensorFlow's default, is off by up to five levels.
        sides = tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64)
        return tf.io.decode_jpeg(bounded(content, tf.reduce_prod(sides)), channels=0, dct_method="INTEGER_ACCURATE")

    def png():
        pixels = _number(content, (19, 18, 17, 16)) * _number(content, (23, 22, 21, 20))
        return tf.io.decode_png(bounded(content, pixels), channels=0)

    def animation():
        return by_decode_image(bounded(*gif.first_frame(content)))

    def by_decode_image(content=content):
        return tf.io.decode_image(content, channels=0, expand_animations=False)

    def by_python():
        read = functools.partial(by_pillow.pixels, max_pixels=max_pixels)
        if tf.executing_eagerly():  # there, numpy_function drops zeros at the end of a string
            return tf.constant(read(content.numpy()))
        return tf.ensure_shape(tf.numpy_function(read, [content], tf.uint8, stateful=False), [None, None, None])

    def bitmap():
        height = _number(content, (22, 23, 24, 25))  # negative where the rows run downwards
        pixels = _number(content, (18, 19, 20, 21)) * tf.minimum(height, 2**32 - height)
        return bmp.pixels(bounded(content, pixels), by_python if pillow else None)

    def photograph():
        return tf.cond(kind == 0, jpeg, png)

    def other():
        # Without Pillow, decode_image says what it accepts, and fails.
        return tf.switch_case(kind - _PHOTOS, [animation, bitmap, by_python if pillow else by_decode_image])

    kind = _kind(content)
    return photograph() if photo else tf.cond(kind < _PHOTOS, photograph, _apart(other))


def _number(content, places):
    """The number that the bytes at these places of a string spell, the lowest first; int64 scalar. Fails where the string is shorter."""
    head = tf.io.decode_raw(tf.strings.substr(content, 0, max(places) + 1), tf.uint8)
    return tf.reduce_sum(tf.cast(tf.gather(head, places), tf.int64) * [256**power for power in range(len(places))])


def resize_to_square(image, size):
    """The evaluation view of one image: its central square, resized.

    Args:
      image: uint8 or float [H, W, C] in 0–255.
      size: int, side of the output in pixels.

    Returns:
      float32 [size, size, C] in [0, 1].
    """

    def scaled(pixels):
        return tf.cast(pixels, tf.float32) * (1.0 / 255.0)

    fits = tf.reduce_all(tf.shape(image)[:2] == size)
    square = tf.cond(fits, lambda: scaled(image), _apart(lambda: resize_batch(scaled(_central_square(image[None])), size)[0]))
    return tf.ensure_shape(square, [size, size, image.shape[2]])


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
    square = _central_square(images)
    # Resizing to the same size changes no value, but takes as long as decoding.
    resized = tf.cond(tf.shape(square)[1] == size, lambda: square, lambda: tf.image.resize(square, [size, size], antialias=True))
    return tf.ensure_shape(resized, [None, size, size, images.shape[3]])


def _central_square(images):
    height, width = tf.shape(images)[1], tf.shape(images)[2]
    side = tf.minimum(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[:, top : top + side, left : left + side]
