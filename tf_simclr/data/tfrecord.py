"""TFRecord shards of encoded images, local or remote; `tools/write_tfrecord.py` writes such."""

import concurrent.futures
import os

import numpy as np
import tensorflow as tf

from tf_simclr.data.encoded import as_encoded
from tf_simclr.data.storage import Records, records
from tf_simclr.data.table import class_names_of
from tf_simclr.errors import UsageError

CLASSES = "classes.txt"
_SPLITS = {"train": ("train",), "test": ("test", "val")}
_THREADS = 16


def read(location, split, class_names=(), *, limits):
    """One split of a set of shards; images stay in their files, are read by position and decoded when they are used.

    Where the name of a shard holds the word train, test or val, it belongs to that split (test before val); shards without such a
    word are for training. Every record is a `tf.train.Example`; the label is a whole number or the name of a class, and a record
    without that feature is an unlabelled image. Classes are the lines of `classes.txt` beside the shards, numbered from 0; without
    it, the labels that occur, sorted: numbers by value, names as text. All shards are scanned once, in parallel.

    Args:
      location: a directory of `*.tfrecord*` files, one file, or a pattern such as `gs://bucket/set/train-*`.
      split: "train", "unlabelled" (the same) or "test".
      class_names: classes in order where there is no `classes.txt`.
      limits: a `DataConfig`: image_feature, label_feature, max_pixels, max_bytes, max_bad_fraction.

    Returns:
      A `Source`, or None for "test" where there is no such shard.

    Raises:
      UsageError: no shards, shards that are cut short, compressed or hold no such features, or labels that are no classes.
    """
    everything = _shards(location)
    shards = _of_split(everything, split)
    if split == "test" and not shards:
        return None
    if not shards:
        raise UsageError(f"dataset tfrecord needs shards for training in {location}, got {everything[0]} and the like; use eval_data_dir")
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        found = [row for rows in pool.map(lambda shard: _scan(shard, limits), shards) for row in rows]
    if not found:
        raise UsageError(f"dataset tfrecord needs at least one record in {location}, got empty shards; write them again")
    keys = np.array([key for key, _ in found], object)
    labels, names = _labels([label for _, label in found], _names_beside(shards[0]) or class_names, location)
    return as_encoded(keys, labels, names, Records(limits.image_feature), limits, location)


def _shards(location):
    """Sorted paths of all shards."""
    pattern = os.path.join(location, "*.tfrecord*") if tf.io.gfile.isdir(location) else location
    try:
        shards = sorted(tf.io.gfile.glob(pattern))
    except tf.errors.OpError as error:
        raise UsageError(f"dataset tfrecord cannot read {location} ({str(error.message).splitlines()[0]}); check data_dir") from error
    if not shards:
        raise UsageError(f"dataset tfrecord needs files {pattern}, got none; check data_dir")
    return shards


def _of_split(shards, split):
    def holding(word):
        return [shard for shard in shards if word in os.path.basename(shard)]

    if split == "test":
        return next(filter(None, map(holding, _SPLITS["test"])), [])
    return holding("train") or [shard for shard in shards if not any(word in os.path.basename(shard) for word in _SPLITS["test"])]


def _scan(shard, limits):
    """[(key, label or None)] of a shard."""
    rows = []
    try:
        for offset, data in records(shard):
            features = tf.train.Example.FromString(data).features.feature
            if not features[limits.image_feature].bytes_list.value:
                raise UsageError(
                    f"every record needs an encoded image in its feature {limits.image_feature}, got"
                    f" {', '.join(sorted(key for key in features if key != limits.image_feature)) or 'no feature'} in {shard} at byte"
                    f" {offset:,}; set image_feature"
                )
            label = features[limits.label_feature]
            values = label.int64_list.value or label.bytes_list.value
            rows.append((Records.key(shard, offset, len(data)), values[0] if values else None))
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise UsageError(f"{shard} must be a whole, uncompressed TFRecord file, got one that {error}; write it again") from error
    except Exception as error:  # protobuf's own, which has no public name
        if type(error).__name__ != "DecodeError":
            raise
        raise UsageError(f"{shard} must hold tf.train.Example records, got others; write it again") from error
    return rows


def _names_beside(shard):
    """The classes that a file beside the shard lists."""
    path = os.path.join(os.path.dirname(shard), CLASSES)
    if not tf.io.gfile.exists(path):
        return ()
    with tf.io.gfile.GFile(path) as file:
        return tuple(file.read().splitlines())


def _labels(found, names, location):
    """Labels as numbers, and class names."""
    given = {label for label in found if label is not None}
    if not given:
        return None, ()
    if len({type(label) for label in given}) > 1:
        raise UsageError(f"labels must be all whole numbers or all names, got both in {location}; write it again")
    if names and isinstance(next(iter(given)), int):
        if outside := [label for label in given if not -1 <= label < len(names)]:
            raise UsageError(f"labels must be in 0..{len(names) - 1}, as {CLASSES} has {len(names)} lines, got {outside[0]} in {location}")
        return np.array([-1 if label is None else label for label in found]), names
    words = [None if label in (None, -1) else label.decode() if isinstance(label, bytes) else str(label) for label in found]
    names = class_names_of({word for word in words if word is not None}, names)
    number = {name: i for i, name in enumerate(names)}
    return np.array([-1 if word is None else number[word] for word in words]), names
