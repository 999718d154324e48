"""What the rest of the package knows of a data set: images, perhaps labels, and nothing of where they came from."""

import dataclasses
import hashlib
import unicodedata
from typing import Any, Optional

import numpy as np

from tf_simclr.errors import UsageError

NO_LABEL = -1
# What the header of an encoded image says: digest of its content (32 hexadecimal digits), sides in pixels, upright, channels (1 to 4)
# as stored, format.
FACTS = np.dtype([("digest", "S32"), ("height", "i4"), ("width", "i4"), ("channels", "i1"), ("format", "U5")])
_UNNAMED = 100_000  # classes that numbers alone may mean; more of them are an error, such as dates for labels
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories: control characters, surrogates, line and paragraph separators


@dataclasses.dataclass(frozen=True)
class Source:
    """One split of a data set: decoded images of one size, or encoded images of any size.

    Attributes:
      channels: 1 grey, 3 RGB.
      size: side in pixels that the network input gets unless `--image_size` says otherwise.
      images: uint8 [N, H, W, channels], or None where the images are encoded.
      encoded: [N] keys of encoded images in `storage`, as a NumPy array of objects; None where images are decoded.
      storage: see `data.storage`; None where images are decoded.
      labels: int64 [N] in [0, classes), -1 for an image without a label; None where no image has one.
      class_names: names in label order; empty without labels.
      facts: `FACTS` [N]; None where images are decoded.
      bad: tuple of (name, reason), images that were left out.
      bad_share: the largest share of them in what was read at once, which `max_bad_fraction` is for.
      numbers: int64 [N], where every image stood in the source that it was taken from; None where they are all there.
    """

    channels: int
    size: int
    images: Optional[np.ndarray] = None
    encoded: Optional[np.ndarray] = None
    storage: Any = None
    labels: Optional[np.ndarray] = None
    class_names: tuple = ()
    facts: Optional[np.ndarray] = None
    bad: tuple = ()
    bad_share: float = 0.0
    numbers: Optional[np.ndarray] = None

    def __len__(self):
        return len(self.encoded if self.images is None else self.images)

    def take(self, indices):
        """The images at `indices` (int [M]), in that order."""
        parts = {name: getattr(self, name) for name in ("images", "encoded", "labels", "facts")}
        parts["numbers"] = np.arange(len(self)) if self.numbers is None else self.numbers
        return dataclasses.replace(self, **{name: part[indices] for name, part in parts.items() if part is not None})

    def name(self, index):
        """What to call an image in a message: its path, else its number in the data set."""
        name = None if self.storage is None else self.storage.name(self.encoded[index])
        return name or f"image {index if self.numbers is None else self.numbers[index]}"

    @property
    def labelled(self):
        """int64 [M], the images that have a label."""
        return np.flatnonzero(self.labels >= 0) if self.labels is not None else np.empty(0, np.int64)

    def digests(self):
        """bytes [N], 32 hexadecimal digits of every image's content: encoded bytes, or pixels where images are decoded."""
        if self.facts is not None:
            return self.facts["digest"]
        return np.array([digest(np.ascontiguousarray(image)) for image in self.images], "S32")

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
            digest.update(b"".join(self.facts["digest"]))
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, np.int64))
        return digest.hexdigest()


def digest(content):
    """32 hexadecimal digits, as bytes, that tell contents apart."""
    return hashlib.blake2b(content, digest_size=16).hexdigest().encode()


def join(first, second, what):
    """Two sources as one, `first` before `second`; images of `second` have no label unless its classes are those of `first`.

    Channels and size are those of `first`; pixels of another size, and another kind of storage, cannot be joined.

    Args:
      first, second: `Source`s.
      what: where `second` comes from, for messages.

    Raises:
      UsageError: images that cannot lie in one array, or one storage.
    """
    if first.storage != second.storage or (first.images is not None and first.images.shape[1:] != second.images.shape[1:]):
        kinds = [_kind(part) for part in (first, second)]
        raise UsageError(f"images of {what} must be stored as the labelled ones are, {kinds[0]}, got {kinds[1]}; convert one of them")
    parts = {name: (getattr(first, name), getattr(second, name)) for name in ("images", "encoded", "facts")}
    joined = {name: np.concatenate(pair) for name, pair in parts.items() if pair[0] is not None}
    if first.labels is not None:
        alike = second.class_names == first.class_names
        joined["labels"] = np.concatenate([first.labels, second.labels if alike else np.full(len(second), NO_LABEL, np.int64)])
    share = max(first.bad_share, second.bad_share)
    return dataclasses.replace(first, **joined, bad=first.bad + second.bad, bad_share=share, numbers=None)


def _kind(source):
    if source.images is None:
        return f"encoded in {type(source.storage).__name__.lower()}"
    return f"pixels of shape {list(source.images.shape[1:])}"


@dataclasses.dataclass(frozen=True)
class Data:
    """A training split and, where there is one, an evaluation split with the same classes in the same order.

    `named` are the settings that it was loaded by, a `DataConfig`; None of images that were given in Python.
    """

    train: Source
    evaluation: Optional[Source] = None
    named: object = None

    @property
    def bad(self):
        """Tuple of (name, reason): all images that were left out, each once."""
        parts = [part for part in (self.train, self.evaluation) if part is not None]
        return tuple(dict.fromkeys(row for part in parts for row in part.bad))


def as_source(images, labels=None, class_names=(), what="images"):
    """Checks arrays and makes a `Source` of them.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C], C 1 or 3, N ≥ 1.
      labels: integers [N], ≥ 0 or -1 for an image without a label; or None.
      class_names: names in label order; empty names the classes by their numbers.
      what: where the arrays come from, for messages.

    Raises:
      UsageError: a wrong dtype, shape or range, or labels of another number than the images.
    """
    try:
        images = np.asarray(images)
    except ValueError as error:  # a list of images of several sizes
        raise UsageError(f"{what} must be one array of images of one size, got {type(images).__name__} ({error}); resize them") from error
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
    """Labels as int64 and their class names as a tuple; (None, ()) without labels. Arguments and errors are those of `as_source`.

    A class name is any text of one line, however much it looks like a path, a command or a formula: nothing here takes it for one.
    Refused are no text at all, control characters and line breaks, which would forge lines of logs and tables, what is no Unicode (half
    a surrogate pair), and a name twice.
    """
    if labels is None:
        return None, ()
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != examples or not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(
            f"labels of {what} must be {examples} whole numbers, one for each image, got {labels.dtype} of shape {list(labels.shape)}"
        )
    if labels.min() < NO_LABEL:
        raise UsageError(f"labels of {what} must be at least 0, or {NO_LABEL} for an image without a label, got {labels.min()}")
    if labels.max() == NO_LABEL:
        return None, ()
    classes, class_names = int(labels.max()) + 1, () if class_names is None else class_names
    if not len(class_names) and classes > _UNNAMED:
        raise UsageError(
            f"labels of {what} without class names must be numbers from 0 to {_UNNAMED - 1:,}, got {classes - 1}; number the classes from 0"
        )
    if isinstance(class_names, (str, dict)):
        raise UsageError(f"class names of {what} must be a list of text in label order, got a {type(class_names).__name__}; give a list")
    names = tuple(map(str, class_names)) or tuple(map(str, range(classes)))
    if classes > len(names):
        raise UsageError(f"labels of {what} must be below the number of class names, {len(names)}, got {labels.max()}")
    for name in names:
        if not name or any(unicodedata.category(character) in _NO_TEXT for character in name):
            raise UsageError(f"class names of {what} must be text of one line, got {name[:60]!r}; rename that class")
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise UsageError(f"class names of {what} must be different ones, got {twice[:60]!r} twice; rename one of the two")
    return labels.astype(np.int64), names
