"""The bundled data: 8,000 training and 2,000 test images of Fashion-MNIST, made by tools/make_fashion_mnist_8k.py.

Fashion-MNIST (Xiao et al., arXiv 1708.07747) is © 2017 Zalando SE, MIT licence; the notice lies beside the file.
"""

import functools
import pathlib

import numpy as np

from tf_simclr.data.source import as_source

FILE = pathlib.Path(__file__).with_name("bundled") / "fashion_mnist_8k.npz"
CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def read(location, split, class_names=()):
    """One split of the bundled data.

    Args:
      location: ignored; the file is part of the package.
      split: "train" (800 images of each class) or "test" (200 of each).
      class_names: ignored; the names are known.

    Returns:
      A `Source` of uint8 [N, 28, 28, 1] with labels.
    """
    return as_source(*_unpacked(split), CLASS_NAMES, what="fashion_mnist_8k")


@functools.cache  # unpacking takes half a second, and every step of a pipeline reads the data
def _unpacked(split):
    with np.load(FILE, allow_pickle=False) as arrays:
        found = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    for array in found:
        array.flags.writeable = False
    return found
