"""One .npz file: `images`, and where there are any `labels` and `class_names`."""

import zipfile
import zlib

import numpy as np
from absl import logging

from tf_simclr.data.source import as_source
from tf_simclr.errors import UsageError


def read(location, split, class_names=()):
    """The training split in an .npz file.

    Args:
      location: path of the file: images uint8 [N, H, W] or [N, H, W, C], C 1 or 3; optionally labels, integers [N], and class_names,
        text in label order. Arrays of Python objects are refused: loading them could run code. Other arrays are not looked at.
      split: "train", "unlabelled" (the same), or "all", where labels that do not fit are left out; there is no test split.
      class_names: names where the file has none; empty names the classes by their numbers.

    Returns:
      A `Source`, or None for "test".

    Raises:
      UsageError: not such a file, or arrays that do not fit together.
    """
    if split == "test":
        return None
    arrays = _load(location)
    names = _names(arrays["class_names"], location) if "class_names" in arrays else class_names
    images, labels, what = arrays["images"], arrays.get("labels"), f"images in {location}"
    try:
        return as_source(images, labels, names, what=what)
    except UsageError as error:
        if split != "all" or labels is None:
            raise
        found = as_source(images, what=what)
        logging.warning("%s; here the images are used without labels", error)
        return found


def _names(array, location):
    """Class names as a tuple of text, from text or bytes."""
    array = np.asarray(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "USiu"):
        raise UsageError(f"class_names in {location} must be a list of text, got {array.dtype} of shape {list(array.shape)}; save a list")
    return tuple(map(str, np.char.decode(array, "utf-8", "backslashreplace") if array.dtype.kind == "S" else array))


def _load(location):
    """The arrays of the file that we know, images among them."""
    try:
        loaded = np.load(location, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UsageError(f"dataset npz needs a file of named arrays, got a single array in {location}; save it with numpy.savez")
        with loaded:
            if "images" not in loaded.files:
                found = ", ".join(loaded.files) or "none"
                raise UsageError(f"dataset npz needs an array named images in {location}, got {found}; save it under that name")
            return {name: loaded[name] for name in ("images", "labels", "class_names") if name in loaded.files}
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(
            f"dataset npz needs a file written by numpy.savez without Python objects, got {location} ({error}); write it again"
        ) from error
