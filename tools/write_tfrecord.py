"""Turns any data set that tf-simclr reads into TFRecord shards, which `--dataset=tfrecord` reads from a local or remote place.

    python tools/write_tfrecord.py --dataset=folder --data_dir=images --shards=8 --out=shards
    tf-simclr --stage=pretrain --dataset=tfrecord --data_dir=shards

The data flags are those of tf-simclr, hold-out and images without labels included; flags that draw a subset of the labels change
nothing. Writes OUT/train-00000-of-00008.tfrecord and so on, OUT/test-… where there is an evaluation split, and OUT/classes.txt, one
class name per line in label order, where there are labels.

Every shard holds a contiguous block of the images: all shards in the order of their names hold them in the order of the source. A
record is a `tf.train.Example` of the encoded image as it is (PNG of a decoded one) in --image_feature, its label, if it has one, in
--label_feature, image/filename, image/height and image/width (upright).
"""

import argparse
import os
import pathlib
import sys

from tf_simclr import cli, durable
from tf_simclr.config import DataConfig
from tf_simclr.errors import StorageError, UsageError
from tf_simclr.progress import with_progress

FEATURES = ("image_feature", "label_feature")


def check_new(out):
    """Raises UsageError unless the directory `out` is new or empty."""
    if "://" in out:
        raise UsageError(f"--out must be a local directory, got {out}; copy the shards from there")
    if os.path.lexists(out) and (not os.path.isdir(out) or os.listdir(out)):
        raise UsageError(f"--out must be a new or empty directory, got {out}; give another one")


def blocks(count, shards):
    """The images of every shard: a list of ranges, as equal as can be, none empty."""
    shards = min(count, shards)
    return [range(count * i // shards, count * (i + 1) // shards) for i in range(shards)]


def plan(sources, shards, out):
    """What goes where: a list of (path without suffix, `Source`, range of its images). Arguments are those of `write`."""
    parts = []
    for split, source in sources.items():
        ranges = blocks(len(source), shards)
        parts += [(out / f"{split}-{i:05d}-of-{len(ranges):05d}", source, indices) for i, indices in enumerate(ranges)]
    return parts


def example(source, index, config):
    """The serialized record of one image; only this image is in memory. `config` is a `DataConfig`."""
    import tensorflow as tf

    if source.images is None:
        try:
            content = source.storage.load(source.encoded[index])
        except OSError as error:
            raise UsageError(f"images must stay as they were checked, got {source.name(index)} ({error.strerror}); start again") from error
        height, width = source.facts["height"][index], source.facts["width"][index]
    else:
        content = tf.io.encode_png(source.images[index]).numpy()
        height, width = source.images.shape[1:3]
    numbers = {"image/height": height, "image/width": width}
    if source.labels is not None and source.labels[index] >= 0:
        numbers[config.label_feature] = source.labels[index]
    features = {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[number])) for name, number in numbers.items()}
    for name, text in ((config.image_feature, content), ("image/filename", source.name(index).encode())):
        features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write(sources, names, shards, out, config):
    """Writes all shards; they get their names when all are complete, so that no half of a data set is taken for the whole.

    Args:
      sources: {split: `Source`}.
      names: class names in label order; empty for no `classes.txt`.
      shards: files of each split; fewer where it has fewer images.
      out: path of the directory.
      config: a `DataConfig`: image_feature, label_feature.

    Raises:
      UsageError: an image can no longer be read.
      OSError, tf.errors.OpError: a shard cannot be written.
    """
    import tensorflow as tf

    from tf_simclr.data.tfrecord import CLASSES

    parts = plan(sources, shards, out)
    every = (example(source, index, config) for _, source, indices in parts for index in indices)
    every = with_progress(every, sum(map(len, sources.values())), "wrote", "images")
    out.mkdir(parents=True, exist_ok=True)
    try:
        for path, _, indices in parts:
            with tf.io.TFRecordWriter(f"{path}.part") as writer:
                for _ in indices:
                    writer.write(next(every))
            durable.sync(f"{path}.part")
        if names:
            durable.write_text(out / CLASSES, "\n".join(names) + "\n")
        for path, _, _ in parts:
            os.replace(f"{path}.part", f"{path}.tfrecord")
        durable.sync(out)
    finally:
        for path, _, _ in parts:
            pathlib.Path(f"{path}.part").unlink(missing_ok=True)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("--out", required=True, help="new or empty directory for the shards")
    parser.add_argument("--shards", type=int, default=8, help="files of each split; some 100 MB in each are read well (default: 8)")
    arguments, rest = parser.parse_known_args(argv)
    config = cli.parse(rest)
    if arguments.shards < 1:
        raise UsageError(f"--shards must be at least 1, got {arguments.shards}")
    check_new(arguments.out)
    cli.prepare()
    import tensorflow as tf  # after `prepare`, which must come before it

    from tf_simclr.data import load_data
    from tf_simclr.stages import setup

    config = setup.with_data_of(config, setup.parent_of(config)).data
    data = load_data(config)
    sources = {"train": data.train} if data.evaluation is None else {"train": data.train, "test": data.evaluation}
    # Every source refuses names that are not one line of text.
    names = next((source.class_names for source in sources.values() if source.class_names), ())
    try:
        write(sources, names, arguments.shards, pathlib.Path(arguments.out), config)
    except (OSError, tf.errors.OpError) as error:
        raise StorageError(f"shards could not be written ({str(error).partition(chr(10))[0]}); make room and start again") from error
    for split, source in sources.items():
        print(f"{split}: {len(source):,} images in {len(blocks(len(source), arguments.shards)):,} shards")
    if data.bad:
        shown = "; ".join(f"{name}: {reason}" for name, reason in data.bad[:3])
        print(f"left out: {len(data.bad):,} bad images ({shown})")
    features = [f" --{name}={getattr(config, name)}" for name in FEATURES if getattr(config, name) != getattr(DataConfig, name)]
    print(f"use them with --dataset=tfrecord --data_dir={arguments.out}{''.join(features)}")


if __name__ == "__main__":
    try:
        main()
    except (UsageError, StorageError) as error:
        print(f"write_tfrecord.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)
