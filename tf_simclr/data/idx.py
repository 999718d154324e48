"""A directory of IDX files, the format of MNIST: big-endian header (0, 0, type, rank, sizes), then the values."""

import gzip
import math
import pathlib
import zlib

import numpy as np

from tf_simclr.data.source import as_source
from tf_simclr.errors import UsageError

_PREFIX = {"train": "train", "unlabelled": "train", "test": "t10k"}
_UBYTE = 8


def read(location, split, class_names=()):
    """One split of a directory with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same for `t10k`.

    Files may be compressed (`.gz`). Without a label file the images have no labels.

    Args:
      location: path of the directory.
      split: "train", "unlabelled" (the same) or "test".
      class_names: names in label order; empty names the classes by their numbers.

    Returns:
      A `Source`, or None where the directory has no images of the test split.

    Raises:
      UsageError: no images at all, or a file that is not IDX of unsigned bytes or is cut short.
    """
    directory, prefix = pathlib.Path(location), _PREFIX[split]
    images = _find(directory, f"{prefix}-images")
    if images is None:
        if _find(directory, "train-images") or _find(directory, "t10k-images"):
            return None
        raise UsageError(
            f"dataset idx needs train-images-idx3-ubyte or train-images-idx3-ubyte.gz, got none in {directory}; check data_dir"
        )
    labels = _find(directory, f"{prefix}-labels")
    return as_source(read_array(images), None if labels is None else read_array(labels), class_names, what=str(images))


def read_array(path):
    """Reads an IDX file of unsigned bytes, compressed when its name ends in .gz.

    Returns:
      uint8 array of the shape in the file's header.

    Raises:
      UsageError: not such a file, or cut short.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path} must be a readable IDX file, got {error}; fetch it again") from error
    if len(content) < 4 or content[:3] != bytes((0, 0, _UBYTE)):
        raise UsageError(
            f"{path} must be an IDX file of unsigned bytes, got a file that begins with {content[:4].hex() or 'nothing'}; fetch it again"
        )
    header = 4 + 4 * content[3]
    shape = [int.from_bytes(content[i : i + 4], "big") for i in range(4, header, 4)]
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise UsageError(f"{path} must hold {expected} bytes for its shape {shape}, got {len(content)}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _find(directory, stem):
    """The file of that stem, `train-images-idx3-ubyte` or `train-images.idx3-ubyte`, .gz or not; None where there is none."""
    return next(iter(sorted(directory.glob(f"{stem}[-.]idx?-ubyte")) + sorted(directory.glob(f"{stem}[-.]idx?-ubyte.gz"))), None)
