"""Linear evaluation, micro-batches, and the wait for input, all as the stages have them."""

import contextlib
import json
import pathlib
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf

from benchmarks import AT_LEAST
from benchmarks.timing import paired
from benchmarks.views import photographs
from tf_simclr import cli, shipped
from tf_simclr.config import Config, DataConfig, ModelConfig, PretrainConfig
from tf_simclr.data import load_data
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extractor
from tf_simclr.evaluation.linear_probe import fit_logistic
from tf_simclr.optimizers.schedules import WarmupCosine
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import run, setup
from tf_simclr.training.fit import prepare
from tf_simclr.training.models import ContrastiveModel

EPOCHS, TIMED = 90, 2  # of linear evaluation; and of them measured with a forward pass in each, the others taking as long
MICRO_BATCH, TIMES = 64, 16
QUICKSTART = pathlib.Path(__file__).parents[2] / "flags" / "quickstart.flags"


# Linear evaluation


class TrainedLayer(tf.Module):
    """A linear classifier in training as published: cross-entropy, Nesterov momentum, a rate that falls by a cosine.

    Args:
      width: features.
      classes: K.
      steps: updates until the rate is 0.
      rate: the first rate; 1 is the best of 0.1, 0.3, 1, 3 and 10 here.
    """

    def __init__(self, width, classes, steps, rate=1.0):
        super().__init__()
        self.layer = tf.keras.layers.Dense(classes, kernel_initializer="zeros")
        self.layer.build([None, width])
        self.optimizer = tf.keras.optimizers.SGD(WarmupCosine(rate, steps), momentum=0.9, nesterov=True)
        self.optimizer.build(self.layer.trainable_variables)

    def update(self, features, labels):
        """One step: features float [B, D], labels int [B]."""
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self.layer(features))
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, self.layer.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.layer.trainable_variables))


def linear_eval(repeats):
    """The shipped encoder and all 8,000 labels of the bundled data: features once and a regression, its penalty searched, against a layer
    that is trained with the frozen network's forward pass in every epoch."""
    data, size = load_data(DataConfig(dataset="fashion_mnist_8k")), Config.eval_batch_size
    network = setup.load_network(RunDirectory(shipped.locate("pretrained:fashion_mnist")))
    images, asked = (plain_batches(source, spec=network.spec, batch_size=size) for source in (data.train, data.evaluation))
    labels, classes = data.train.labels, len(data.train.class_names)
    extract, fitted = extractor(network), {}

    def ours():
        start = time.perf_counter()
        fitted["weights"], fitted["bias"], _ = fit_logistic(extract(images)["features"][0], labels, classes)
        return EPOCHS / (time.perf_counter() - start)

    steps = EPOCHS * len(images)
    width, by_label = network.encoder.output_width, tf.data.Dataset.from_tensor_slices(labels).batch(size)
    timed = TrainedLayer(width, classes, steps)
    step = tf.function(lambda images, labels: timed.update(network(images, training=False)["features"][0], labels))

    def against():
        start = time.perf_counter()
        for _ in range(TIMED):
            for batch in tf.data.Dataset.zip((images, by_label)):
                step(*batch)
        return TIMED / (time.perf_counter() - start)

    result = {**paired(ours, against, repeats), "unit": "epochs/s", "epochs": EPOCHS, "extrapolated": True, "epochs_measured": TIMED}
    known, asked = (extract(batches)["features"][0] for batches in (images, asked))
    # A frozen network without augmentation says the same in every epoch, so that the accuracy at the end needs no more of its passes.
    trained = TrainedLayer(width, classes, steps)
    update = tf.function(trained.update)
    for features, right in tf.data.Dataset.from_tensor_slices((known, labels)).batch(size).repeat(EPOCHS):
        update(features, right)

    def accuracy(logits):
        return float(np.mean(np.argmax(logits, axis=1) == data.evaluation.labels))

    result |= {"accuracy": accuracy(asked @ fitted["weights"] + fitted["bias"]), "accuracy_against": accuracy(trained.layer(asked))}
    lead = 100 * (result["accuracy"] - result["accuracy_against"])
    return {**result, "also": [{"what": "points of accuracy ahead", "value": lead, "bound": AT_LEAST, "wanted": -1.0}]}


# Micro-batches


def micro_batch_scaling(repeats):
    """Seconds of a step of 1,024 images in micro-batches of 64, against those of 16 steps of 64: ResNet-18 ×0.25, 32 px, one channel, input
    excluded."""
    spec = ModelConfig(depth=18, width=0.25, stem="cifar", image_size=32, channels=1)

    def steps(batch_size, count):
        fit = PretrainConfig(batch_size=batch_size, micro_batch_size=MICRO_BATCH)
        model = ContrastiveModel(setup.build_network(spec, spec.head_layers, 0, seed=0), fit.temperature, fit.micro_batch_size)
        prepare(model, fit, 1000, Config())
        views = tuple(tf.random.stateless_uniform([batch_size, 32, 32, 1], [0, view]) for view in range(2))
        step = tf.function(lambda: model.train_step({"views": views})["loss"])

        def seconds():
            start = time.perf_counter()
            for _ in range(count):
                step().numpy()
            return time.perf_counter() - start

        return seconds

    found = paired(steps(MICRO_BATCH * TIMES, 1), steps(MICRO_BATCH, TIMES), repeats)
    return {**found, "unit": "s", "batch_size": MICRO_BATCH * TIMES, "micro_batch_size": MICRO_BATCH}


# Waiting for input


def waits(arguments, repeats):
    """What a pretraining by these flags says of its waiting, in seconds a step: one report for each repeat, after a first one, in which the
    step is traced."""
    with tempfile.TemporaryDirectory() as directory, contextlib.redirect_stdout(sys.stderr):  # standard output is for the table
        config = cli.parse([*arguments, "--stage=pretrain", f"--run_dir={directory}"])
        run(config)
        reports = [json.loads(line) for line in (pathlib.Path(directory) / "metrics.jsonl").read_text().splitlines()]
    reports = reports[1 : 1 + repeats]
    steps = [config.pretrain.batch_size / report["images_per_second"] for report in reports]
    ratios = [report["input_wait"] for report in reports]
    return {"ratios": ratios, "ours": [share * step for share, step in zip(ratios, steps)], "against": steps, "unit": "s"}


def input_wait_quickstart(repeats):
    """The pretraining of the quickstart, of fewer epochs."""
    return waits([f"--flagfile={QUICKSTART}", f"--pretrain_epochs={repeats + 1}"], repeats)


def input_wait_folder(repeats):
    """ResNet-10 at 224 px, batch 32, published views, from a folder of 500×375 JPEGs; 20 steps a report. A larger network waits less."""
    batch_size, steps = 32, 20
    with tempfile.TemporaryDirectory() as directory:
        for number, image in enumerate(photographs(5 * batch_size, 375, 500)):
            tf.io.write_file(f"{directory}/{number:03}.jpg", tf.io.encode_jpeg(image, quality=90))
        flags = {"data_dir": directory, "depth": 10, "image_size": 224, "batch_size": batch_size, "steps": steps * (repeats + 1)}
        return waits([f"--{name}={value}" for name, value in flags.items()], repeats)
