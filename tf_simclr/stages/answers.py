"""What predict and embed share: a model from a run or an export, images of which any may be bad, and answers as they come."""

import collections
import concurrent.futures
import dataclasses
import pathlib

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import lock, shipped
from tf_simclr.data.check import explain
from tf_simclr.data.load import load_images
from tf_simclr.data.source import Data
from tf_simclr.data.tolerant import tolerant_batches
from tf_simclr.errors import UsageError
from tf_simclr.export.load import is_export
from tf_simclr.export.reading import OK
from tf_simclr.export.served import serve_export, serve_network
from tf_simclr.progress import with_progress
from tf_simclr.run_directory import make_directory
from tf_simclr.stages import setup

_AT_A_TIME = 2  # batches


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says of some images that follow each other.

    Attributes:
      start: number of the first one in its source.
      status: list of n texts, "ok" or what is wrong with the image.
      outputs: dict of float32 [n, …], see `export.served.Served`; 0 for bad images.
    """

    start: int
    status: list
    outputs: dict

    def __len__(self):
        return len(self.status)


def open_model(config):
    """The `Served` of what `--from` names: an export, or a finished run."""
    if config.from_run and is_export(directory := shipped.locate(config.from_run)):
        served = serve_export(directory)
        setup.check_export(config, directory)
        return served
    parent = setup.required_parent(config, ("pretrain", "finetune", "linear_eval", "distill"))
    return serve_network(setup.load_finished(parent, config), parent.facts()["class_names"])


def open_images(config, data):
    """The images to look at: those of the training split of `data`, else all that the settings name, see `load_images`."""
    if data is not None:
        return data.train
    # None is taken from the earlier run: an export alone knows of none, and both are to answer alike.
    if not config.data.data_dir and not config.data.dataset:
        raise UsageError(
            f"--stage={config.stage} needs images, --data_dir or --dataset, got neither; give a directory, a file or a pattern"
        )
    return load_images(config.data)


def open_directory(config, data):
    """The directory that a stage writes into, with this process as its writer: `--run_dir`, or runs/DATASET/STAGE."""
    looked_at = None if data is None else Data(data.train)
    config = setup.with_data_of(config, None, looked_at)
    directory = pathlib.Path(config.run_dir or setup.default_home(config))
    if config.stage == "embed":  # whose files are pictures
        setup.check_apart(config, directory)
    make_directory(directory)
    lock.acquire(directory)
    return directory


def answers(model, source, names, config):
    """Runs a model over all images of a source, in order, with memory for a few batches.

    Args:
      model: a `Served`.
      source: a `Source` that may hold bad images.
      names: the outputs that are wanted.
      config: a `Config`: eval_batch_size, and of its data the limits on images.

    Returns:
      iterator of `Answers`, each of at most eval_batch_size images.
    """
    size = config.eval_batch_size

    def ask(batch):
        numbers, images = batch
        outputs = model.call(images)
        return numbers.numpy(), {name: outputs[name].numpy() for name in names}

    def parts():
        start = 0
        for numbers, outputs in _ahead(ask, tolerant_batches(source, spec=model.spec, batch_size=size, limits=config.data)):
            yield from filled(start, numbers[-1] + 1, numbers, outputs)
            start = numbers[-1] + 1
        if start < len(source):  # bad ones behind the last good one
            yield from filled(start, len(source), np.empty(0, int), no_outputs(model, names))

    def filled(start, stop, numbers, outputs):
        """All images from `start` to `stop`, of which those with these numbers are good and have these outputs."""
        for first in range(start, stop, size):
            last = min(first + size, stop)
            chosen = slice(*np.searchsorted(numbers, [first, last]))
            good = np.isin(np.arange(first, last), numbers[chosen])
            status = [OK] * len(good)
            for place in np.flatnonzero(~good):
                status[place] = explain(source.encoded[first + place], source.storage, config.data)
            yield Answers(first, status, {name: _at(good, x[chosen]) for name, x in outputs.items()})

    return with_progress(parts(), len(source), "passed", "images", count=len)


def _ahead(function, items):
    """The function of each item, in their order, two at a time, which are made while the result before them is used.

    Two batches keep all cores busy where one alone leaves them idle between its operations.
    """
    with concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as pool:
        coming = collections.deque()
        for item in items:
            coming.append(pool.submit(function, item))
            if len(coming) > _AT_A_TIME:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _at(good, x):
    """float32 [n, …]: the rows of x where `good`, bool [n], says so, and 0 elsewhere."""
    whole = np.zeros([len(good), *x.shape[1:]], x.dtype)
    whole[good] = x
    return whole


def no_outputs(model, names):
    """The outputs of a `Served` for no image, dict of float32 [0, …]."""
    spec = model.spec
    black = model.call(tf.zeros([1, spec.image_size, spec.image_size, spec.channels]))  # TensorFlow refuses an empty batch
    return {name: black[name].numpy()[:0] for name in names}


def log_end(done, bad, seconds, path):
    """One line at the end: images, how many of them bad, images per second, and the file."""
    logging.info("%s images (%s of them bad) in %.1f s, %.0f a second; in %s", f"{done:,}", f"{bad:,}", seconds, done / seconds, path)
