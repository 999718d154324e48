"""Runs a network over images: features of every layer that the selector knows, and logits."""

import numpy as np
import tensorflow as tf


def extractor(network):
    """`extract` for one network, compiled once; for callers that measure again and again while the network trains.

    Args:
      network: a built `models.network.Network`.

    Returns:
      A function from batches to the result of `extract`.
    """
    spec = network.spec

    # The batch dimension is left open, so that the last, smaller batch needs no second trace.
    # As a concrete function, of which TensorFlow does not warn that many like it were traced.
    @tf.function(input_signature=[tf.TensorSpec([None, spec.image_size, spec.image_size, spec.channels], tf.float32)], autograph=False)
    def infer(images):
        outputs = network(images, training=False)
        return tf.nest.map_structure(lambda x: tf.cast(x, tf.float32), outputs)

    infer = infer.get_concrete_function()

    def run(batches):
        outputs = [tf.nest.map_structure(np.asarray, infer(batch)) for batch in batches]
        return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    return run


def extract(network, batches):
    """Runs a network in inference mode over all batches.

    Args:
      network: a built `models.network.Network` for images of side S with C channels.
      batches: iterable of float32 [B, S, S, C] in [0, 1], as of `data.pipeline.plain_batches`; B may vary, at least one batch.

    Returns:
      dict of NumPy arrays: features, a list of float32 [N, D_i] (h, output of head layer 1, …); with a classifier also logits,
      float32 [N, K]. Images keep their order.
    """
    return extractor(network)(batches)
