"""Looks at every encoded image before training: what the header says, its content's digest, and whether all of it decodes.

A damaged image found now is a line in quarantine.csv; found at step 90,000 it would be the end of the run.
"""

import concurrent.futures
import dataclasses
import os
import warnings

import numpy as np

from tf_simclr.data import by_pillow
from tf_simclr.data.source import FACTS, digest
from tf_simclr.errors import UsageError
from tf_simclr.progress import with_progress

# TensorFlow reads all frames of an animation to give the first.
MAX_FRAMES = 1000
_THREADS = min(32, 2 * (os.cpu_count() or 1))


@dataclasses.dataclass(frozen=True)
class Checked:
    """Images that can be used, and those that cannot.

    Attributes:
      kept: int64 [M], indices of the images that can be used, ascending.
      facts: `source.FACTS` [M].
      bad: tuple of (name, reason).
    """

    kept: np.ndarray
    facts: np.ndarray
    bad: tuple


def check_images(keys, storage, config, what):
    """Checks images in two passes: header and bounds, with flat memory; then a full decoding, by the decoder that training uses.

    Args:
      keys: keys of N images in the storage, any sequence.
      storage: see `data.storage`.
      config: a `DataConfig`: max_pixels, max_bytes.
      what: where the images come from; names those that have no name by their number.

    Returns:
      `Checked`.
    """
    bad, facts = {}, {}
    with warnings.catch_warnings(), concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        warnings.simplefilter("ignore")  # Pillow's on large images; ours are errors
        look = pool.map(lambda key: _look(key, storage, config), keys, chunksize=64)
        for index, found in enumerate(with_progress(look, len(keys), "checked", f"headers of {what}")):
            (bad if isinstance(found, str) else facts)[index] = found
    for index, reason in _undecodable(keys, storage, list(facts), what).items():
        bad[index] = reason
        del facts[index]
    kept = np.array(sorted(facts), np.int64)
    names = {i: storage.name(keys[i]) or f"{what}, image number {i}" for i in sorted(bad)}
    return Checked(kept, np.array([facts[i] for i in kept], FACTS), tuple((name, bad[i]) for i, name in names.items()))


def enforce(bad, total, config, what):
    """Raises UsageError where more than `max_bad_fraction` of `total` images are bad."""
    if len(bad) > config.max_bad_fraction * total:
        shown = "; ".join(f"{name}: {reason}" for name, reason in bad[:3])
        raise UsageError(
            f"at most {config.max_bad_fraction:.2%} of the images may be bad, got {len(bad):,} of {total:,} in {what} ({shown});"
            " mend or remove them, or raise --max_bad_fraction"
        )


def _look(key, storage, config):
    """A row of `FACTS`, or the reason why not, of one image."""
    try:
        size = storage.size(key)
        if size == 0:
            return "empty file"
        if size > config.max_bytes:
            return f"{size:,} bytes, more than max_bytes={config.max_bytes:,}"
        content = storage.load(key)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:  # a path that no file can have
        return f"cannot be read: {error}"
    return inspect_header(content, config)


def inspect_header(content, config):
    """A row of `source.FACTS` of an encoded image, or the reason (text) why it cannot be used; only the header is decoded."""
    try:
        with by_pillow.open_image(content) as image:
            width, height = image.size
            reason = _out_of_bounds(image.format, width, height, content, config)
            if reason:
                return reason
            turned = image.format in ("JPEG", "MPO", "PNG", "WEBP") and by_pillow.orientation(image) in (5, 6, 7, 8)
            alpha = image.has_transparency_data and image.format != "GIF"
            channels = (1 if image.mode in ("1", "L", "LA", "I;16", "I", "F") else 3) + alpha
            height, width = (width, height) if turned else (height, width)
            return digest(content), height, width, channels, image.format
    except Exception as error:  # readers of damaged headers fail in many ways
        if "DecompressionBomb" in type(error).__name__:
            return f"too many pixels: {str(error).partition(',')[0]}"  # for Pillow, whatever max_pixels is
        if type(error).__name__ == "UnidentifiedImageError":
            return "not an image that is read here (JPEG, PNG, GIF, BMP, WebP)"
        return f"damaged header ({type(error).__name__}: {str(error)[:100]})"


def _out_of_bounds(kind, width, height, content, config):
    if width * height > config.max_pixels:
        return f"{width:,} x {height:,} pixels, more than max_pixels={config.max_pixels:,}"
    if kind == "GIF":
        frames = count_frames(content, MAX_FRAMES)
        if frames > MAX_FRAMES:
            return f"more than {MAX_FRAMES:,} frames"
        if frames * width * height > config.max_pixels:
            return f"{frames:,} frames of {width:,} x {height:,} pixels, more than max_pixels={config.max_pixels:,} in all"
    return None


def count_frames(content, most):
    """Frames of a GIF, by hopping from block to block; stops above `most`. A file cut short has those that begin before the cut."""
    frames, at = 0, 13 + (3 << (content[10] & 7) + 1 if content[10] & 0x80 else 0)
    while at < len(content) and frames <= most:
        if content[at] == 0x2C and at + 10 < len(content):
            frames += 1
            packed = content[at + 9]
            at += 11 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
        elif content[at] == 0x21:
            at += 2
        else:
            break
        while at < len(content) and content[at]:
            at += content[at] + 1
        at += 1
    return frames


def _undecodable(encoded, storage, indices, what):
    """{index: reason} of the images whose decoding fails."""
    import tensorflow as tf

    from tf_simclr.data import decode

    if not indices:
        return {}
    with tf.device("CPU:0"):
        keys = storage.tensor([encoded[i] for i in indices])
        read = tf.autograph.experimental.do_not_convert(
            lambda i: (i, tf.reduce_max(tf.shape(decode.read(storage.content(keys[i]), 3, pillow=True))))
        )
        dataset = tf.data.Dataset.range(len(indices)).map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        decoded = dataset.ignore_errors().as_numpy_iterator()
        good = {int(i) for i, _ in with_progress(decoded, len(indices), "checked", f"images of {what}")}
        bad = {}
        for place in sorted(set(range(len(indices))) - good):
            bad[indices[place]] = _damage(keys[place], storage)
    return bad


def explain(key, storage, config):
    """Why an image could not be read, text of one line.

    Args:
      key: its key in the storage.
      storage: see `data.storage`.
      config: a `DataConfig`: max_pixels, max_bytes.
    """
    found = _look(key, storage, config)
    return found if isinstance(found, str) else _damage(storage.tensor([key])[0], storage)


def _damage(key, storage):
    """What the decoder says of an image whose header is good; `key` is a tensor."""
    import tensorflow as tf

    from tf_simclr.data import decode

    try:
        decode.read(storage.content(key), 3, pillow=True)
        return "could not be decoded a moment ago"
    except (tf.errors.OpError, ValueError, OSError, SyntaxError) as error:  # the last two are Pillow's
        return f"damaged: {_reason(error)}"


def _reason(error):
    """TensorFlow's message without the name of the node and the stack."""
    text = str(error.message if hasattr(error, "message") else error).strip().splitlines()[0]
    return text.rpartition("}} ")[2].partition(" [Op:")[0][:160]
