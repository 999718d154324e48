"""What the rest of the package knows of a data set: images, perhaps labels, and nothing of where they came from."""

import dataclasses
import hashlib
from typing import Optional

import numpy as np

from tf_simclr.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set: decoded images of one size, or encoded images of any size.

    Attributes:
      channels: 1 grey, 3 RGB.
      size: side in pixels that the network input gets unless `--image_size` says otherwise.
      images: uint8 [N, H, W, channels], or None where the images are encoded.
      encoded: [N] file paths (with `on_disk`) or encoded bytes, as a NumPy array of objects; None where images are decoded.
      on_disk: whether `encoded` holds paths.
      labels: int64 [N] in [0, classes), or None.
      class_names: names in label order; empty without labels.
      digests: bytes [N], 32 hexadecimal digits of every image's encoded content; None where images are decoded.
      bad: tuple of (name, reason), images that were left out.
      numbers: int64 [N], where every image stood in the source that it was taken from; None where they are all there.
    """

    channels: int
    size: int
    images: Optional[np.ndarray] = None
    encoded: Optional[np.ndarray] = None
    on_disk: bool = False
    labels: Optional[np.ndarray] = None
    class_names: tuple = ()
    digests: Optional[np.ndarray] = None
    bad: tuple = ()
    numbers: Optional[np.ndarray] = None

    def __len__(self):
        return len(self.encoded if self.images is None else self.images)

    def take(self, indices):
        """The images at `indices` (int [M]), in that order."""
        parts = {name: getattr(self, name) for name in ("images", "encoded", "labels", "digests")}
        parts["numbers"] = np.arange(len(self)) if self.numbers is None else self.numbers
        return dataclasses.replace(self, **{name: part[indices] for name, part in parts.items() if part is not None})

    def name(self, index):
        """What to call an image in a message: its path, else its number in the data set."""
        if self.on_disk:
            return str(self.encoded[index])
        return f"image {index if self.numbers is None else self.numbers[index]}"

    def without_labels(self):
        """The same images; no label, no class."""
        return dataclasses.replace(self, labels=None, class_names=())

    def fingerprint(self):
        """SHA-256 over shape and pixels, or the digests of encoded images, and labels: hexadecimal text; no path is part of it."""
        digest = hashlib.sha256()
        if self.images is not None:
            digest.update(str(self.images.shape).encode())
            digest.update(np.ascontiguousarray(self.images))
        else:
            digest.update(b"".join(self.digests))
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, np.int64))
        return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class Data:
    """A training split and, where there is one, an evaluation split with the same classes in the same order."""

    train: Source
    evaluation: Optional[Source] = None

    @property
    def bad(self):
        """Tuple of (name, reason): all images that were left out, each once."""
        parts = [part for part in (self.train, self.evaluation) if part is not None]
        return tuple(dict.fromkeys(row for part in parts for row in part.bad))


def as_source(images, labels=None, class_names=(), what="images"):
    """Checks arrays and makes a `Source` of them.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C], C 1 or 3, N ≥ 1.
      labels: integers [N], ≥ 0, or None.
      class_names: names in label order; empty names the classes by their numbers.
      what: where the arrays come from, for messages.

    Raises:
      UsageError: a wrong dtype, shape or range, or labels of another number than the images.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise UsageError(
            f"{what} must be uint8 in 0..255, got {images.dtype}; convert them, floats in [0, 1] by (images * 255).round().astype('uint8')"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise UsageError(
            f"{what} must be at least one image of shape [N, H, W] or [N, H, W, C] with C 1 or 3, got shape {list(images.shape)}"
        )
    size = min(images.shape[1:3])
    labels, names = checked_labels(labels, len(images), class_names, what)
    return Source(images.shape[3], size, images, labels=labels, class_names=names)


def checked_labels(labels, examples, class_names, what):
    """Labels as int64 and their class names as a tuple; (None, ()) without labels. Arguments and errors are those of `as_source`."""
    if labels is None:
        return None, ()
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != examples or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"labels of {what} must be {examples} whole numbers, one for each image, got {labels.dtype} of shape {list(labels.shape)}"
        )
    if labels.min() < 0:
        raise UsageError(f"labels of {what} must be at least 0, got {labels.min()}")
    names = tuple(map(str, class_names)) or tuple(str(i) for i in range(labels.max() + 1))
    if labels.max() >= len(names):
        raise UsageError(f"labels of {what} must be below the number of class names, {len(names)}, got {labels.max()}")
    return labels.astype(np.int64), names
