"""What the tests of several sources need: pixels, image files, reading and refusing."""

import gzip
import pathlib
import zlib

import numpy as np
import pytest
import tiny
from PIL import Image

import tf_simclr
from tf_simclr import cli
from tf_simclr.config import DataConfig
from tf_simclr.data import load_data
from tf_simclr.errors import UsageError

IMAGES = np.random.RandomState(0).randint(0, 256, [12, 6, 5, 3], np.uint8)
LABELS = np.arange(12) % 3
OTHERS = 255 - IMAGES  # for evaluation: no image may stand in two sets


def load(dataset, **settings):
    return load_data(DataConfig(dataset=dataset, **{key: str(value) for key, value in settings.items()}))


def train_two_steps(run_dir, **data):
    """Pretrains from the command line's settings, and checks that a loss came of it."""
    flags = [f"--{name}={value}" for name, value in {**data, "image_size": 8, "run_dir": run_dir}.items()]
    result = tf_simclr.run(cli.parse(["--stage=pretrain", *flags, *tiny.FLAGS]))
    assert result["steps"] == 2 and np.isfinite(result["loss"])


def refuse(message, call, *args, **settings):
    with pytest.raises(UsageError, match=message) as caught:
        call(*args, **settings)
    assert "\n" not in str(caught.value)


def save(path, image=None):
    """An image file; without an image given, a different one at every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(zlib.crc32(str(path).encode()))
    Image.fromarray(random.randint(0, 256, [6, 5, 3], np.uint8) if image is None else image).save(path)


def relative(source, root):
    return [str(pathlib.Path(path).relative_to(root)) for path in source.encoded]


def idx_bytes(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def write_idx_directory(directory, images, labels, splits=("train", "t10k"), compress=True):
    for split in splits:
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = directory / f"{split}-{kind}-ubyte"
            if compress:
                path = path.with_name(path.name + ".gz")
            path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
