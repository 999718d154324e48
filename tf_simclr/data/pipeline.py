"""From a source to batches of views, by position: the one way in which images reach a model."""

import dataclasses
import os

import tensorflow as tf

from tf_simclr.augment import on_host, views
from tf_simclr.data import decode
from tf_simclr.data.decode import match_channels
from tf_simclr.data.order import example_at

LABELLED_STREAM = 1
THREADS = os.cpu_count() or 1  # that prepare images for a pass without training
AHEAD = 2  # batches that are made while another one is used


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of every batch is made here: the global batch is cut into `parts` equal ones, one per replica, in order.

    This process makes `mine` of them from `first` on, each as a batch of its own.
    """

    parts: int = 1
    first: int = 0
    mine: int = 1


def training_batches(
    source, *, spec, policy, seed, batch_size, start, stop, share=Share(), view_count=1, stream=0, at_a_time=0, on_device=False
):
    """Batches of augmented views for steps `start` to `stop`.

    Args:
      source: a `Source` of N ≥ 1 images.
      spec: a resolved `ModelConfig`; image_size and channels of the views.
      policy: a `FitConfig`, see `augment.views.make_view`.
      seed: int, the run's seed.
      batch_size: B, over all replicas; a multiple of the share's parts.
      start, stop: first step and the step after the last one.
      share: a `Share`; B below is the size of a part.
      view_count: independent views of every image.
      stream: independent sequence number within the run.
      at_a_time: images whose views are made together, a divisor of a part's; fewer make the same batches in less memory, as then only
        one batch waits for the training. 0: all images of a part, and as many batches wait as suit the speed.
      on_device: leave to the train step what it can do: all of the views where images have one size, else what follows the crop.

    Returns:
      tf.data.Dataset of dicts: views, a tuple of `view_count` float32 [B, S, S, C] in [0, 1]; position int64 [B]; example int64 [B],
      index into the source; label int64 [B] where the source has labels. With `on_device` what `views.finish` makes them of.
    """
    size, channels = spec.image_size, spec.channels
    part_size, last = batch_size // share.parts, share.first + share.mine
    made = at_a_time or part_size
    numbers = [stream * 16 + number for number in range(view_count)]

    with tf.device("CPU:0"):
        labels = None if source.labels is None else tf.constant(source.labels, tf.int64)
        images = None if source.images is None else tf.constant(source.images)
        keys = None if source.encoded is None else source.storage.tensor(source.encoded)

    crop_only = on_device or policy.augment == "randaugment"  # what follows is made of the draws

    def name_examples(positions):
        example = example_at(positions, seed, stream, len(source))
        draws = views.draw(seed, positions, numbers, policy)
        batch = {"position": positions, "example": example}
        if labels is not None:
            batch["label"] = tf.gather(labels, example)
        if crop_only:
            batch["draws"] = draws
        return {**batch, "numbers": on_host.prepare(draws, policy, channels, crop_only)}

    def take(batch):
        return {**batch, "images": match_channels(tf.gather(images, batch["example"]), channels)}

    def make_together(batch):
        batch = take(batch)
        return {**batch, "views": tuple(on_host.make_together(batch["images"], batch["numbers"], size, policy))}

    def make_one(named):
        # One decoding serves all views, and only the crop needs the image at its own size.
        image = _read(keys[named["example"]], source, spec) if images is None else images[named["example"]]
        return {**named, "views": tuple(on_host.make_one(match_channels(image, channels), named["numbers"], size, policy))}

    def finish(batch):
        rest = {key: value for key, value in batch.items() if key != "numbers"}
        if on_device:
            return rest
        return views.finish(rest, size, policy) if crop_only else {key: value for key, value in rest.items() if key != "images"}

    # No function here branches on a tensor, and AutoGraph would take longer to read them than TensorFlow to trace them.
    plain = tf.autograph.experimental.do_not_convert
    parallel = {"num_parallel_calls": THREADS, "deterministic": True}
    positions = tf.data.Dataset.range(start * batch_size, stop * batch_size).batch(part_size, drop_remainder=True)
    if share.mine < share.parts:
        numbered = positions.enumerate().filter(plain(lambda i, _: (i % share.parts >= share.first) & (i % share.parts < last)))
        positions = numbered.map(plain(lambda _, part: part))
    if at_a_time:
        positions = positions.unbatch().batch(made, drop_remainder=True)
    named = positions.map(plain(name_examples), **parallel)
    if images is not None and on_device:
        finished = named.map(plain(lambda batch: finish(take(batch))), **parallel)
    elif images is not None and max(size, *images.shape[1:3]) <= on_host.TOGETHER:
        finished = named.map(plain(lambda batch: finish(make_together(batch))), **parallel)
    else:
        crops = named.unbatch().map(plain(make_one), **parallel).batch(made, drop_remainder=True)
        finished = crops.map(plain(finish), **parallel)
    if at_a_time:
        parts = finished.batch(part_size // made, drop_remainder=True)
        return parts.map(plain(lambda batch: tf.nest.map_structure(_joined, batch))).prefetch(1)
    return untuned(finished.prefetch(AHEAD))


def plain_batches(source, *, spec, batch_size):
    """All images once, in order, unaugmented; the last batch may be smaller.

    Returns:
      tf.data.Dataset of float32 [≤ batch_size, S, S, C] in [0, 1].
    """

    def prepare(image):
        return decode.resize_to_square(match_channels(image, spec.channels), spec.image_size)

    def prepare_all(images):
        return decode.resize_batch(tf.cast(match_channels(images, spec.channels), tf.float32) * (1.0 / 255.0), spec.image_size)

    parallel = {"num_parallel_calls": THREADS}
    with tf.device("CPU:0"):
        if source.images is not None:
            # Of one size, they are taken and prepared together: one by one, small images would take longer than a small network.
            images = tf.constant(source.images)
            starts = tf.data.Dataset.range(0, len(source.images), batch_size)
            batches = starts.map(lambda start: prepare_all(images[start : start + batch_size]), **parallel)
        else:
            keys = tf.data.Dataset.from_tensor_slices(source.storage.tensor(source.encoded))
            images = keys.map(lambda key: _read(key, source, spec), **parallel)
            batches = images.map(prepare, **parallel).batch(batch_size)
    return untuned(batches.prefetch(AHEAD))


def untuned(dataset):
    """The dataset without a tuner, which looks again after ever longer pauses, and is waited for when a pass ends: 4.9 s were seen."""
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _joined(x):
    """[K, M, …] as [K · M, …]."""
    return tf.reshape(x, [x.shape[0] * x.shape[1], *x.shape[2:]])


def _read(key, source, spec):
    return decode.read(source.storage.content(key), source.channels, spec.background, pillow=True)


def with_wait(dataset):
    """Adds to every batch the seconds that the consumer waited for it: `wait`, float32 [1].

    The members of a zip are asked one after the other, so that clocks before and after the batch time the request itself.
    """
    clock = tf.data.Dataset.counter().map(lambda _: tf.timestamp())
    timed = tf.data.Dataset.zip((clock, dataset, clock))
    return timed.map(lambda t0, batch, t1: {**batch, "wait": tf.cast(t1 - t0, tf.float32)[None]})
