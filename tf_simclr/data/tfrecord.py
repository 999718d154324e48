"""TFRecord shards of encoded images, local or remote; `tools/write_tfrecord.py` writes such."""

import concurrent.futures
import os
import re

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from tf_simclr.data.encoded import as_encoded
from tf_simclr.data.storage import Records, printable, records
from tf_simclr.data.table import class_names_of
from tf_simclr.errors import UsageError

CLASSES = "classes.txt"
# How a word begins in a shard's name by which it is of a split; the latest shards of an oval are of none.
_TRAINING, *_TESTS = (re.compile(f"(?<![a-z]){word}") for word in ("train", "test", "val(?![a-z])|(?<![a-z])valid"))
_THREADS = 16


def read(location, split, class_names=(), *, limits, check=True):
    """One split of a set of shards; images stay in their files, are read by position and decoded when they are used.

    Where a word in the name of a shard is val, or begins with train, test or valid, it is of that split (train before test before
    val, and test or val with labels before the other without); without such names, all are for training. Every record is a
    `tf.train.Example`; the label is a whole number or the name of a class, and a record without that feature, or of number -1, is an
    unlabelled image. Classes are the lines of `classes.txt` beside the shards, numbered from 0; without it, the labels that occur,
    sorted: numbers by value, names as text. The shards of the split are scanned once, in parallel.

    Args:
      location: a directory of `*.tfrecord*` files, one file, or a pattern such as `gs://bucket/set/train-*`.
      split: "train", "unlabelled" (the same), "test", or "all" for every shard.
      class_names: classes in order where there is no `classes.txt`.
      limits: a `DataConfig`: image_feature, label_feature, max_pixels, max_bytes, max_bad_fraction.
      check: see `encoded.as_encoded`.

    Returns:
      A `Source`, or None for "test" where there is no such shard.

    Raises:
      UsageError: no shards, shards that are cut short, compressed or hold no such features, or labels that are no classes.
    """
    everything = _shards(location)
    parts = _of_split(everything, split)
    if split == "test" and not parts:
        return None
    if not parts:
        raise UsageError(f"dataset tfrecord needs shards for training in {location}, got {everything[0]} and the like; use eval_data_dir")
    shards, found = _first_labelled(parts, limits)
    if not found:
        raise UsageError(f"dataset tfrecord needs at least one record in {location}, got empty shards; write them again")
    keys = np.array([key for key, _ in found], object)
    labels, names = _labels([label for _, label in found], _names_beside(shards[0]), class_names, location)
    return as_encoded(keys, labels, names, Records(limits.image_feature), limits, location, check)


def _shards(location):
    """Sorted paths of all shards."""
    try:
        if tf.io.gfile.isdir(location):
            shards = [os.path.join(location, name) for name in tf.io.gfile.listdir(location) if _is_shard(name)]
        else:  # a name that is there is no pattern, whatever brackets it has
            shards = [location] if tf.io.gfile.exists(location) else tf.io.gfile.glob(location)
    except (tf.errors.OpError, UnicodeError) as error:
        reason = str(getattr(error, "message", error)).partition("\n")[0]
        raise UsageError(f"dataset tfrecord cannot read {printable(location)} ({reason}); check data_dir") from error
    if not shards:
        raise UsageError(f"dataset tfrecord needs files named *.tfrecord* or a pattern of files, got none in {location}; check data_dir")
    return sorted(shards)


def _is_shard(name):
    return ".tfrecord" in name and not name.startswith(".")


def _of_split(shards, split):
    """The shards of a split, a list of lists: one, or for "test" one for each word that there is."""

    def holding(word, among):
        return [shard for shard in among if word.search(os.path.basename(shard).lower())]

    if split == "all":
        return [shards]
    training = holding(_TRAINING, shards)
    others = [shard for shard in shards if shard not in training]
    tests = [holding(word, others) for word in _TESTS]
    if split == "test":
        return [part for part in tests if part]
    mine = training or [shard for shard in others if not any(shard in part for part in tests)]
    return [mine] if mine else []


def _first_labelled(parts, limits):
    """The first of some lists of shards that has labels, or else the first one, with its [(key, label or None)]; no more are read."""
    scanned = []
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        for shards in parts:
            scanned.append((shards, [row for rows in pool.map(lambda shard: _scan(shard, limits), shards) for row in rows]))
            if any(label not in (None, -1) for _, label in scanned[-1][1]):
                return scanned[-1]
    return scanned[0]


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
            if len(values) > 1 or label.float_list.value:
                got = f"{len(values)} values" if values else "floating-point numbers"
                raise UsageError(
                    f"a label must be one whole number or one name, got {got} in the feature {limits.label_feature} of {shard} at byte"
                    f" {offset:,}; set label_feature, or write it again"
                )
            rows.append((Records.key(shard, offset, len(data)), values[0] if values else None))
    except UsageError:  # which is a ValueError, too
        raise
    except DecodeError as error:
        raise UsageError(f"{shard} must hold tf.train.Example records, got others; write it again") from error
    except ValueError as error:
        raise UsageError(f"{shard} must be a whole, uncompressed TFRecord file, got one that {error}; write it again") from error
    except (OSError, tf.errors.OpError) as error:
        reason = str(getattr(error, "message", error)).partition("\n")[0]
        raise UsageError(f"{shard} must be a file that can be read, got an error ({reason}); check its permissions") from error
    return rows


def _names_beside(shard):
    """The classes that a file beside the shard lists."""
    path = os.path.join(os.path.dirname(shard), CLASSES)
    if not tf.io.gfile.exists(path):
        return ()
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return tuple(file.read().decode("utf-8-sig").rstrip("\r\n").splitlines())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} must be text in UTF-8, got another file; save it as UTF-8") from error


def _labels(found, listed, known, location):
    """Labels as numbers, and class names: those `listed` in a file, to which numbers refer, else by the labels that occur."""
    given = {label for label in found if label is not None}
    if not given:
        return None, ()
    if len({type(label) for label in given}) > 1:
        raise UsageError(f"labels must be all whole numbers or all names, got both in {location}; write it again")
    if listed and isinstance(next(iter(given)), int):
        if outside := [label for label in given if not -1 <= label < len(listed)]:
            most = len(listed) - 1
            raise UsageError(f"labels must be in 0..{most}, as {CLASSES} has {most + 1} lines, got {outside[0]} in {location}")
        return np.array([-1 if label is None else label for label in found]), listed
    words = [None if label in (None, -1) else printable(label) if isinstance(label, bytes) else str(label) for label in found]
    names = listed or class_names_of({word for word in words if word is not None}, known)
    number = {name: i for i, name in enumerate(names)}
    if outside := [word for word in words if word is not None and word not in number]:
        raise UsageError(f"labels must be lines of {CLASSES}, got {outside[0]} in {location}; add it to the file")
    return np.array([-1 if word is None else number[word] for word in words]), names
