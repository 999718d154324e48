"""From a source to batches of views, by position: the one way in which images reach a model."""

import dataclasses
import functools
import os

import tensorflow as tf

from tf_simclr.augment import crop, on_host, views
from tf_simclr.data import decode
from tf_simclr.data.decode import match_channels
from tf_simclr.data.order import example_at

LABELLED_STREAM = 1
THREADS = os.cpu_count() or 1  # that prepare images
AHEAD = 2  # batches that are made while another one is used
_NUMBERED = 2048  # images whose numbers are worked out together: for few, the many operations take longer to start than to run
_PARALLEL = {"num_parallel_calls": THREADS, "deterministic": True}
# No function here branches on a tensor, and AutoGraph would take longer to read them than TensorFlow to trace them.
_plain = tf.autograph.experimental.do_not_convert


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
    part_size = batch_size // share.parts
    made = at_a_time or part_size
    maker = _ViewMaker(source, spec, policy, seed, stream, view_count, on_device)
    named = _named(maker, batch_size, start, stop, share, at_a_time)
    if source.images is not None and on_device:
        finished = named.map(_plain(lambda batch: maker.finish(maker.take(batch))), **_PARALLEL)
    elif source.images is not None and crop.are_small(spec.image_size, *source.images.shape[1:3]):
        finished = named.map(_plain(lambda batch: maker.finish(maker.make_together(batch))), **_PARALLEL)
    else:
        crops = named.unbatch().map(_plain(maker.make_one), **_PARALLEL).batch(made, drop_remainder=True)
        finished = crops.map(_plain(maker.finish), **_PARALLEL)
    if at_a_time:
        parts = finished.batch(part_size // made, drop_remainder=True)
        return parts.map(_plain(lambda batch: tf.nest.map_structure(_joined, batch))).prefetch(1)
    return untuned(finished.prefetch(AHEAD))


def _named(maker, batch_size, start, stop, share, at_a_time):
    """What `maker.name_examples` makes of the positions of every batch, [B, …].

    Steps are taken together by their number, wherever a run starts and stops: what a kernel rounds may depend on the place in a tensor.
    """
    a_step = share.mine * (batch_size // share.parts // at_a_time if at_a_time else 1)
    together = max(1, _NUMBERED // (share.mine * batch_size // share.parts))
    first, last = start // together * together, -(-stop // together) * together
    batches = _positions(batch_size, first, last, share, at_a_time).batch(together * a_step)
    named = batches.map(_plain(maker.name_examples), num_parallel_calls=-(-THREADS // together), deterministic=True).unbatch()
    return named.skip((start - first) * a_step).take((stop - start) * a_step)


def _positions(batch_size, start, stop, share, at_a_time):
    """Positions in the sequence of training examples, int64 [B] for every part that is made here; or as many `at_a_time`."""
    size = batch_size // share.parts
    parts = tf.data.Dataset.range(start * batch_size, stop * batch_size).batch(size, drop_remainder=True)
    if share.mine < share.parts:
        mine = range(share.first, share.first + share.mine)
        numbered = parts.enumerate().filter(_plain(lambda i, _: (i % share.parts >= mine.start) & (i % share.parts < mine.stop)))
        parts = numbered.map(_plain(lambda _, part: part))
    return parts.unbatch().batch(at_a_time, drop_remainder=True) if at_a_time else parts


class _ViewMaker:
    """The steps from positions to views. They are maps of a `tf.data.Dataset`; a batch is a dict, see `training_batches`."""

    def __init__(self, source, spec, policy, seed, stream, view_count, on_device):
        self._source, self._spec, self._policy = source, spec, policy
        self._seed, self._stream, self._on_device = seed, stream, on_device
        self._views = [stream * 16 + number for number in range(view_count)]
        self._crop_only = on_device or policy.augment == "randaugment"  # what follows is made of the draws
        with tf.device("CPU:0"):
            self._labels = None if source.labels is None else tf.constant(source.labels, tf.int64)
            self._images = None if source.images is None else tf.constant(source.images)
            self._keys = None if source.encoded is None else source.storage.tensor(source.encoded)

    def name_examples(self, batches):
        """Which images, and the numbers that their views are made by, [K, B, …], for the positions of K batches, int64 [K, B]."""
        positions = tf.reshape(batches, [-1])
        example = example_at(positions, self._seed, self._stream, len(self._source))
        draws = views.draw(self._seed, positions, self._views, self._policy)
        batch = {"position": positions, "example": example}
        if self._labels is not None:
            batch["label"] = tf.gather(self._labels, example)
        if self._crop_only:
            batch["draws"] = draws
        batch["numbers"] = on_host.prepare(draws, self._policy, self._spec.channels, self._crop_only)
        return tf.nest.map_structure(lambda of: tf.reshape(of, [-1, batches.shape[1], *of.shape[1:]]), batch)

    def take(self, batch):
        """Adds the images, where they have one size."""
        return {**batch, "images": match_channels(tf.gather(self._images, batch["example"]), self._spec.channels)}

    def make_together(self, batch):
        """Adds views, of images of one size."""
        batch = self.take(batch)
        made = on_host.make_together(batch["images"], batch["numbers"], self._spec.image_size, self._policy)
        return {**batch, "views": tuple(made)}

    def make_one(self, named):
        """Adds views, of a single image: one decoding serves them all, and only the crop needs the image at its own size."""
        example = named["example"]
        image = _read(self._keys[example], self._source, self._spec) if self._images is None else self._images[example]
        image = match_channels(image, self._spec.channels)
        return {**named, "views": tuple(on_host.make_one(image, named["numbers"], self._spec.image_size, self._policy))}

    def finish(self, batch):
        """Leaves what training takes, finished here or to be finished on the device."""
        rest = {key: value for key, value in batch.items() if key != "numbers"}
        if self._on_device:
            return rest
        if self._crop_only:
            return views.finish(rest, self._spec.image_size, self._policy)
        return {key: value for key, value in rest.items() if key != "images"}


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
    return _reader(source.channels, spec.background)(source.storage.content(key))


@functools.cache
def _reader(channels, background):
    """`decode.read` as a function that a process traces once, and not for every data set."""
    read = functools.partial(decode.read, channels=channels, background=background, pillow=True)
    return tf.function(read, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
