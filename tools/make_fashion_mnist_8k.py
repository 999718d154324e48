"""Makes the bundled data set from the IDX files of Fashion-MNIST (Debian: package dataset-fashion-mnist).

    python tools/make_fashion_mnist_8k.py --source /usr/share/datasets/fashion-mnist

Takes the first 800 training and the first 200 test images of every class, in the files' order, which is a shuffled one. The result
depends on the images alone: LZMA in a zip with fixed times, which `numpy.load` reads.
"""

import argparse
import io
import pathlib
import zipfile

import numpy as np

from tf_simclr.data import fashion_mnist, idx

PER_CLASS = {"train": 800, "test": 200}


def first_of_every_class(labels, count):
    """Indices, ascending, of the first `count` examples of each of the classes in `labels` (int [N])."""
    return np.sort(np.concatenate([np.flatnonzero(labels == number)[:count] for number in np.unique(labels)]))


def write_npz(path, arrays):
    """Writes a dict of arrays as an .npz file whose bytes depend on the arrays alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0)), member.getvalue(), zipfile.ZIP_LZMA)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="directory of the IDX files")
    parser.add_argument("--target", default=fashion_mnist.FILE, type=pathlib.Path, help="file to write [%(default)s]")
    args = parser.parse_args()
    arrays = {}
    for split, count in PER_CLASS.items():
        source = idx.read(args.source, split)
        chosen = first_of_every_class(source.labels, count)
        arrays[f"{split}_images"] = source.images[chosen, ..., 0]
        arrays[f"{split}_labels"] = source.labels[chosen].astype(np.uint8)
    write_npz(args.target, arrays)
    print(f"{args.target}: {args.target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
