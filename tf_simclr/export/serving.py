"""The functions that an exported model serves, around a network of its own."""

import tensorflow as tf

from tf_simclr.data import decode
from tf_simclr.models.network import Network


class Serving(tf.Module):
    """A copy of a network that takes images of any size, and encoded images, and names its outputs.

    The copy is built where this object is: outside of a strategy's scope it has ordinary variables, whatever the original has. Only
    variables and functions are tracked, no Keras object, so that loading needs TensorFlow alone.

    Outputs, for n images:
      features: float32 [n, D], h; features_1, features_2, …: the outputs of the head's layers, as the selector counts them.
      logits, probabilities: float32 [n, K]; class_index: int64 [n]; class_name: string [n]. Absent without a classifier.

    Args:
      network: a built `Network`.
      class_names: K names in label order; ignored without a classifier.
    """

    def __init__(self, network, class_names):
        super().__init__()
        spec, classifier = network.spec, network.classifier
        copy = Network(spec, len(network.head.layers), 0 if classifier is None else classifier.units).build_variables()
        copy.set_weights(network.get_weights())
        self.network_variables = list(copy.variables)

        # A function of its own, so that the network is traced once for both signatures.
        @tf.function(input_signature=[tf.TensorSpec([None, spec.image_size, spec.image_size, spec.channels], tf.float32)])
        def run(squares):
            # TensorFlow's fused convolutions refuse an empty batch: it passes with one black image, and comes back without.
            count = tf.shape(squares)[0]
            filled = tf.pad(squares, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
            outputs = name_outputs(copy(filled, training=False), class_names)
            return {name: x[:count] for name, x in outputs.items()}

        def read_one(content):
            return decode.resize_to_square(decode.read(content, spec.channels, spec.background), spec.image_size)

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, spec.channels], tf.float32, name="images")])
        def serve(images):
            return run(decode.resize_batch(images, spec.image_size))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="encoded")])
        def serve_encoded(encoded):
            square = tf.TensorSpec([spec.image_size, spec.image_size, spec.channels], tf.float32)
            return run(tf.map_fn(read_one, encoded, fn_output_signature=square))

        self.serve, self.serve_encoded = serve, serve_encoded


def name_outputs(outputs, class_names):
    """The network's outputs (see `Network.call`) as the flat dict that `Serving` describes."""
    features = [tf.cast(x, tf.float32) for x in outputs["features"]]
    named = {f"features_{i}" if i else "features": x for i, x in enumerate(features)}
    if "logits" in outputs:
        index = tf.argmax(outputs["logits"], axis=1)
        named.update(logits=outputs["logits"], probabilities=tf.nn.softmax(outputs["logits"]), class_index=index)
        named["class_name"] = tf.gather(tf.constant(list(class_names), tf.string), index)
    return named
