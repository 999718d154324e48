"""Where encoded images lie, and how to get one: as a graph operation while training, in Python before it.

A storage knows images by keys; a `Source` holds the keys of its images as a NumPy array of objects.
"""

import dataclasses
import errno
import os

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Memory:
    """Keys are the encoded images themselves, bytes."""

    def tensor(self, keys):
        """The keys as a constant string tensor [N]."""
        return tf.constant(list(keys), tf.string)

    def content(self, key):
        """The encoded image of a key, both scalar string tensors."""
        return key

    def load(self, key):
        """The encoded image of a key, bytes. Raises OSError."""
        return key

    def size(self, key):
        """How many bytes there are to load. Raises OSError."""
        return len(key)

    def name(self, key):
        """What to call an image in a message, or None where its key says nothing."""
        return None


@dataclasses.dataclass(frozen=True)
class Files(Memory):
    """Keys are paths; those that are not UTF-8 as Python has them, with surrogates."""

    def tensor(self, keys):
        return tf.constant([os.fsencode(key) for key in keys], tf.string)

    def content(self, key):
        return tf.io.read_file(key)

    def load(self, key):
        with open(key, "rb") as file:
            return file.read()

    def size(self, key):
        return os.stat(key).st_size

    def name(self, key):
        return printable(key)


@dataclasses.dataclass(frozen=True)
class Records(Memory):
    """Keys are `OFFSET:LENGTH:PATH` of `tf.train.Example`s in uncompressed TFRecord files, local or remote.

    A record is length (8 bytes), its checksum (4), data, checksum (4); OFFSET is where the record begins, LENGTH that of its data.

    Attributes:
      feature: name of the feature that holds the encoded image.
    """

    feature: str

    @staticmethod
    def key(path, offset, length):
        return f"{offset}:{length}:{path}"

    def content(self, key):
        # A data set of one record, since no other operation reads a part of a file.
        offset = tf.strings.to_number(tf.strings.regex_replace(key, ":.*", ""), tf.int64)
        path = tf.strings.regex_replace(key, "^[0-9]+:[0-9]+:", "")
        variant = tf.raw_ops.TFRecordDatasetV2(filenames=path[None], compression_type="", buffer_size=0, byte_offsets=offset[None])
        record = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1).get_single_element()
        return tf.io.parse_single_example(record, {self.feature: tf.io.FixedLenFeature([], tf.string)})[self.feature]

    def load(self, key):
        offset, length, path = key.split(":", 2)
        try:
            with open_file(path) as file:
                file.seek(int(offset) + 12)
                data = file.read(int(length))
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, error.message) from error
        return tf.train.Example.FromString(data).features.feature[self.feature].bytes_list.value[0]

    def size(self, key):
        return int(key.split(":", 2)[1])

    def name(self, key):
        offset, _, path = key.split(":", 2)
        return f"{printable(path)} at byte {offset}"


def open_file(path):
    """A file to read bytes from: by Python where it is local, which is faster, else by TensorFlow."""
    return tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb")


def records(path):
    """The records of an uncompressed TFRecord file: an iterator of (offset, data bytes).

    Raises:
      ValueError: the file is not one, or is cut short.
    """
    offset = 0
    with open_file(path) as file:
        end = tf.io.gfile.stat(path).length
        while head := file.read(12):
            length = int.from_bytes(head[:8], "little")
            if head[:2] == b"\x1f\x8b" or length > 1 << 40:
                raise ValueError(f"holds no uncompressed record at byte {offset:,}")
            if offset + length + 16 > end:  # before memory for a damaged length is asked for
                raise ValueError(f"ends inside the record at byte {offset:,}")
            yield offset, file.read(length + 4)[:length]
            offset += length + 16


def printable(path):
    """A path as text that can be written anywhere: what is not UTF-8 is spelt \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
