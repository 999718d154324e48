"""Image files that the tests of several modules need, and Pillow's reading of them."""

import io

import numpy as np
from PIL import Image, ImageOps

RANDOM = np.random.RandomState(0)
RGB = RANDOM.randint(0, 256, [9, 13, 3], np.uint8)
ALPHA = RANDOM.randint(0, 256, [9, 13], np.uint8)
PHOTO = np.asarray(Image.fromarray(RGB).resize((65, 45)))  # smooth, as JPEG likes it


def encode(image, kind="PNG", **options):
    """The bytes of an image file, of an array or a Pillow image."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def noted(orientation):
    """EXIF data with that orientation, as an option of `encode`."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def by_pillow(content, background=255):
    """int [H, W, 3]: upright, over the background."""
    with Image.open(io.BytesIO(content)) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode.startswith("I"):  # 16 bits: Pillow has no 8-bit reading of its own
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, (background,) * 3 + (255,))
        below.alpha_composite(image.convert("RGBA"))
        image = below
    return np.asarray(image.convert("RGB")).astype(int)


def every_kind():
    """{name: content} of the kinds of image that we read by graph operations."""
    colour, photo, grey = Image.fromarray(RGB), Image.fromarray(PHOTO), Image.fromarray(RGB[..., 0])
    palette = colour.quantize(16)
    with_alpha, grey_alpha = colour.copy(), grey.copy()
    with_alpha.putalpha(Image.fromarray(ALPHA))
    grey_alpha.putalpha(Image.fromarray(ALPHA))
    deep = Image.fromarray(RANDOM.randint(0, 65536, [9, 13], np.uint16))
    frames = [Image.new("P", (9, 5), number) for number in range(2)]
    for frame in frames:
        frame.putpalette([10, 200, 30, 90, 80, 70])
    return {
        "jpeg": encode(photo, "JPEG", quality=90),
        "jpeg, no subsampling": encode(photo, "JPEG", quality=95, subsampling=0),
        "jpeg, progressive": encode(photo, "JPEG", progressive=True),
        "jpeg, grey": encode(photo.convert("L"), "JPEG"),
        "jpeg, CMYK": encode(photo.convert("CMYK"), "JPEG", quality=95),
        "png": encode(colour),
        "png, 1 bit": encode(colour.convert("1")),
        "png, grey": encode(grey),
        "png, 16 bit": encode(deep),
        "png, palette": encode(palette),
        "png, palette of 4 bits": encode(palette, bits=4),
        "png, transparent palette": encode(palette, transparency=bytes(range(0, 160, 10))),
        "png, alpha": encode(with_alpha),
        "png, grey and alpha": encode(grey_alpha),
        "gif": encode(colour, "GIF"),
        "gif, animated": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "bmp": encode(colour, "BMP"),
        "bmp, grey": encode(grey, "BMP"),
        "bmp, palette": encode(palette, "BMP"),
        "bmp, 32 bits": encode(colour.convert("RGBA"), "BMP"),
    }


def only_pillow():
    """{name: content} of the kinds that need Pillow."""
    colour = Image.fromarray(RGB)
    with_alpha = colour.copy()
    with_alpha.putalpha(Image.fromarray(ALPHA))
    return {
        "webp": encode(colour, "WEBP", lossless=True),
        "webp, alpha": encode(with_alpha, "WEBP", lossless=True, exact=True),
        "webp, turned": encode(colour, "WEBP", lossless=True, **noted(6)),
        "bmp, 1 bit": encode(colour.convert("1"), "BMP"),
    }
