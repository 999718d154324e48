"""Predict, embed and serving against the bare network on batches in memory. Loading the model and drawing pictures are left out, and
weights are random, which are as fast as any.
"""

import functools
import tempfile
import time

import numpy as np
import tensorflow as tf

from benchmarks.timing import paired, speed
from benchmarks.views import photographs
from tf_simclr.config import Config, DataConfig, ModelConfig, replace
from tf_simclr.data import Data, load_data
from tf_simclr.data.load import load_images
from tf_simclr.data.tolerant import tolerant_batches
from tf_simclr.export.load import load_export
from tf_simclr.export.saved_model import export_network
from tf_simclr.export.served import serve_export
from tf_simclr.stages import run, setup

CLASSES = tuple("0123456789")
STUDENT = ModelConfig(depth=10, width=0.125, stem="cifar2", image_size=28, channels=1)  # the quickstart's
SMALL = ModelConfig(depth=18, width=0.25, stem="cifar", image_size=64, channels=3)
SERVED_BATCH, SERVED_BATCHES = 256, 16


@functools.lru_cache
def exported(spec):
    """A network with ten classes, and a `TemporaryDirectory` that holds its export and lasts as long as this process."""
    network, directory = setup.build_network(spec, 1, len(CLASSES), seed=0), tempfile.TemporaryDirectory()
    export_network(network, CLASSES, f"{directory.name}/export")
    return network, directory


def compare(stage, output, spec, source, times, repeats):
    """The result of a row: a stage, from an export, against the network that is in it.

    Args:
      stage: "predict" or "embed".
      output: what the stage asks the network for.
      spec: a `ModelConfig`.
      source: a `Source`, which fits into memory when it is decoded.
      times: how often the stage and the network meet every image, so that what begins a pass counts little.
      repeats: pairs.
    """
    home = exported(spec)[1].name
    config = replace(Config(), stage=stage, from_run=f"{home}/export", run_dir=f"{home}/{stage}")
    data = Data(source.take(np.tile(np.arange(len(source)), times)))
    served, size = serve_export(config.from_run), config.eval_batch_size
    batches = [images for _, images in tolerant_batches(source, spec=served.spec, batch_size=size, limits=config.data)]

    def ours():
        return len(data.train) / run(config, data)["seconds"]

    def against():
        start = time.perf_counter()
        for images in batches * times:
            served.call(images)[output].numpy()
        return len(data.train) / (time.perf_counter() - start)

    return {**paired(ours, against, repeats), "unit": "images/s", "images": len(data.train), "batch_size": size}


def predict_arrays(repeats, spec=STUDENT, times=30):
    """The bundled images, in memory, through the smallest of networks: what is not the network weighs most there."""
    return compare("predict", "probabilities", spec, load_data(DataConfig(dataset="fashion_mnist_8k")).train, times, repeats)


def embed_files(repeats, spec=SMALL, files=2000, times=5):
    """PNG files of 64 px, read and decoded, through a ResNet-18 of a quarter of the width."""
    with tempfile.TemporaryDirectory() as directory:
        for number, image in enumerate(photographs(files, 64, 64)):
            tf.io.write_file(f"{directory}/{number:04}.png", tf.io.encode_png(image))
        return compare("embed", "features", spec, load_images(DataConfig(data_dir=directory)), times, repeats)


def serve_batch(repeats, spec=STUDENT, seconds=3.0):
    """Batches through the export's checks, one call each, against one call of Keras' `predict` of the network for all of them."""
    network, directory = exported(spec)
    loaded = load_export(f"{directory.name}/export")
    count = SERVED_BATCH * SERVED_BATCHES
    images = np.random.default_rng(0).random([count, spec.image_size, spec.image_size, spec.channels], np.float32)

    def ours():
        for batch in np.split(images, SERVED_BATCHES):
            answers = loaded.signatures["serving_default"](images=tf.constant(batch))
            [value.numpy() for value in answers.values()]

    def against():
        return network.predict(images, batch_size=SERVED_BATCH, verbose=0)

    found = paired(*(lambda step=step: speed(step, count, seconds) for step in (ours, against)), repeats)
    return {**found, "unit": "images/s", "batch_size": SERVED_BATCH}
