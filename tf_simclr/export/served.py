"""One way to use a trained network, whether it comes from a run or from an export alone."""

import dataclasses
import functools
import typing

import tensorflow as tf

from tf_simclr.config import ModelConfig
from tf_simclr.export.load import load_export, read_card
from tf_simclr.export.reusable import outputs_of
from tf_simclr.export.serving import served_of


@dataclasses.dataclass(frozen=True)
class Served:
    """A network in inference mode.

    Attributes:
      call: a function from images float32 [n, S, S, C] in [0, 1] to a dict of float32 tensors: features [n, D], the pooled ones;
        features_1, …, the outputs of the head's layers that it has; with a classifier also logits and probabilities [n, K].
      spec: a `ModelConfig` of which image_size S, channels C and background are set, which is what reading its images needs.
      layers: head layers that it has.
      class_names: tuple of K names in label order; empty without a classifier.
    """

    call: typing.Callable
    spec: ModelConfig
    layers: int
    class_names: tuple


def serve_network(network, class_names):
    """A `Served` of a built `Network`; `class_names` in label order, empty without a classifier."""
    spec = network.spec

    # The number of images is left open, so that the last, smaller batch needs no second trace.
    @tf.function(input_signature=[tf.TensorSpec([None, spec.image_size, spec.image_size, spec.channels], tf.float32)])
    @tf.autograph.experimental.do_not_convert
    def call(images):
        return served_of(outputs_of(network, images, training=False))

    return Served(call, spec, len(network.head.layers), tuple(class_names))


def serve_export(directory):
    """A `Served` of an export, which is loaded after its files were compared with their SHA-256. Raises UsageError as `load_export`."""
    loaded, card = load_export(directory), read_card(directory)
    spec = ModelConfig(image_size=card["image_size"], channels=card["channels"], background=card["architecture"]["background"])
    # Bound to what was loaded, which must live as long as its signature is called.
    return Served(functools.partial(_call, loaded), spec, card["selector"], tuple(card["class_names"]))


def _call(loaded, images):
    return loaded.signatures["network"](images=images)
