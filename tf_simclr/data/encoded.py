"""A `Source` of encoded images, which are decoded when they are used."""

import numpy as np

from tf_simclr.data import by_pillow
from tf_simclr.data.source import Source, checked_labels
from tf_simclr.errors import UsageError

_SAMPLES = 16
_LARGEST = 224  # the field's usual input for photographs


def as_encoded(encoded, labels, class_names, on_disk, what):
    """Makes a `Source` of encoded images after a look at up to 16 of them, evenly spaced; opening all would take too long.

    They decide on channels (grey if all of them are) and on the input size (the median of their shorter sides, at most 224).

    Args:
      encoded: array of objects [N], N ≥ 1: paths (with `on_disk`) or encoded bytes.
      labels: integers [N], ≥ 0, or None.
      class_names: names in label order; empty names the classes by their numbers.
      on_disk: bool.
      what: where the images come from, for messages.

    Raises:
      UsageError: one of these images cannot be decoded, or labels that do not fit.
    """
    labels, names = checked_labels(labels, len(encoded), class_names, what)
    chosen = np.unique(np.linspace(0, len(encoded) - 1, _SAMPLES).astype(int))
    shapes = np.array([_shape(encoded[i], on_disk, f"{what}, image number {i}") for i in chosen])
    channels = 1 if shapes[:, 2].max() <= 2 else 3
    size = int(min(_LARGEST, np.median(shapes[:, :2].min(axis=1))))
    return Source(channels, size, encoded=encoded, on_disk=on_disk, labels=labels, class_names=names)


def _shape(key, on_disk, name):
    """[height, width, stored channels] of one image, by its header."""
    try:
        if on_disk:
            with open(key, "rb") as file:
                key, name = file.read(), key
        with by_pillow.open_image(key) as image:
            turned = image.getexif().get(0x0112, 1) >= 5
            channels = (1 if image.mode in ("1", "L", "LA", "I;16", "I", "F") else 3) + image.has_transparency_data
            return [*(image.size if turned else image.size[::-1]), channels]
    except (OSError, ValueError, SyntaxError) as error:
        raise UsageError(f"images must be JPEG, PNG, GIF, BMP or WebP, got {name}; remove or replace it") from error
