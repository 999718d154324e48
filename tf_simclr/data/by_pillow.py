"""Images that TensorFlow cannot read, read by Pillow: WebP, and BMP files of rare kinds. Training only; an export has no Python."""

import functools
import io

import numpy as np

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def open_image(content):
    """A `PIL.Image.Image` of which only the header was read.

    Args:
      content: bytes of an encoded image.

    Raises:
      OSError, ValueError, SyntaxError: what Pillow says of a file that is none of FORMATS.
    """
    return _pillow().open(io.BytesIO(content), formats=FORMATS)


@functools.cache
def _pillow():
    from PIL import Image

    Image.init()  # `formats` knows only the readers that are loaded
    return Image


def pixels(content, max_pixels=None):
    """uint8 [H, W, C], upright: C is 1 grey, 2 grey and alpha, 3 RGB or 4 RGB and alpha.

    Args and errors are `open_image`'s; an image of more than `max_pixels` is a ValueError, before it is decoded.
    """
    from PIL import ImageOps

    with open_image(content) as opened:
        if max_pixels is not None and opened.width * opened.height > max_pixels:
            raise ValueError(f"at most {max_pixels} pixels are allowed, got {opened.width} x {opened.height}")
        image = ImageOps.exif_transpose(opened)
        alpha = image.has_transparency_data
        grey = image.mode in ("1", "L", "LA")
        mode = ("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB")
        array = np.asarray(image.convert(mode))
    return array[..., None] if array.ndim == 2 else array


def orientation(image):
    """The orientation that the EXIF in the header of an opened image says, 1 to 8; 1 without one."""
    if image.format != "PNG":
        return image.getexif().get(0x0112, 1)
    # `getexif` of a PNG decodes all of it, to look behind the pixels as well.
    exif = _pillow().Exif()
    exif.load(image.info.get("exif", b""))
    return exif.get(0x0112, 1)
