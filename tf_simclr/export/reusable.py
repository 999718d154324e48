"""A network as the object that a SavedModel holds: called for its features, trained again, served."""

import tensorflow as tf

from tf_simclr.models.network import Network
from tf_simclr.training.checkpoints import named_variables


class Reusable(tf.train.Checkpoint):
    """A copy of a network that follows TensorFlow's interface of reusable SavedModels, and the call of the released SimCLRv2 models.

    Only variables and functions are tracked, no Keras object, so that loading needs TensorFlow alone. The copy is built where this
    object is: outside of a strategy's scope it has ordinary variables, whatever the original has.

    `__call__(inputs, training=False, trainable=None, selector=0)`, for inputs float32 [n, H, W, C] in [0, 1] of any size, not resized:
      training: whether BatchNorm takes its statistics from the batch and updates the moving ones, those above the selector too.
      selector: which layer is returned, float32 [n, D]: 0 the pooled features, i the output of the head's layer i.
      trainable: None, or the argument of the released models, which makes this return a dict: initial_conv, initial_max_pool,
        block_group1 … block_group4 (as far as the encoder has them), final_avg_pool, proj_head_input, proj_head_output (where the whole
        head is there) and logits_sup (with a classifier). It takes the place of `training`, which hub.KerasLayer always passes. Not
        together with `selector`.

    Attributes:
      network: dict of the variables by the names that checkpoints give them.
      variables, trainable_variables: lists of them.
      regularization_losses: empty; weight decay is the trainer's.
      infer, learn: functions from images as above to the dict that `outputs_of` describes, with BatchNorm's statistics of training and
        of the batch.

    Args:
      network: a built `Network`.
    """

    def __init__(self, network):
        super().__init__()
        spec, classifier, kept = network.spec, network.classifier, len(network.head.layers)
        copy = Network(spec, kept, 0 if classifier is None else classifier.units).build_variables()
        copy.set_weights(network.get_weights())
        self.network = named_variables(copy)
        self.variables, self.trainable_variables = list(copy.variables), list(copy.trainable_variables)
        self.regularization_losses = []
        images = tf.TensorSpec([None, None, None, spec.channels], tf.float32, name="images")

        # Traced once each; every way to call the model is a thin function around one of them.
        @tf.function(input_signature=[images], autograph=False)
        def infer(images):
            return outputs_of(copy, images, training=False)

        @tf.function(input_signature=[images], autograph=False)
        def learn(images):
            return outputs_of(copy, images, training=True)

        @tf.function(autograph=False)
        def call(inputs, training=False, trainable=None, selector=0):
            outputs = (learn if (training if trainable is None else trainable) else infer)(inputs)
            if trainable is None:
                return outputs[layer(selector)]
            return as_released(outputs, z=layer(kept) if kept and kept == spec.head_layers else None)

        for training in (False, True):
            for choice in (*({"selector": i} for i in range(kept + 1)), {"trainable": False}, {"trainable": True}):
                call.get_concrete_function(images, training=training, **choice)
        self.infer, self.learn, self.__call__ = infer, learn, call


def layer(selector):
    """The name of a layer's output: features, features_1, …, as the selector counts them."""
    return f"features_{selector}" if selector else "features"


def outputs_of(network, images, training):
    """Everything that a network computes, by name.

    Args:
      network: a built `Network`.
      images: float32 [n, H, W, C] in [0, 1].
      training: whether BatchNorm's statistics are the batch's.

    Returns:
      dict of float32 tensors: the encoder's endpoints; features, features_1, … [n, D]; with a classifier logits [n, K].
    """
    endpoints = network.encoder.endpoints(images, training=training)
    features = network.head(endpoints["final_avg_pool"], training=training)
    named = {**endpoints, **{layer(i): x for i, x in enumerate(features)}}
    if network.classifier is not None:
        named["logits"] = network.classifier(features[-1])
    return {name: tf.cast(x, tf.float32) for name, x in named.items()}


def as_released(outputs, z):
    """What `outputs_of` gives under the names of the released models; `z` is the layer that is the whole head's output, or None."""
    named = {name: x for name, x in outputs.items() if not name.startswith("features") and name != "logits"}
    named["proj_head_input"] = outputs[layer(0)]
    if z is not None:
        named["proj_head_output"] = outputs[z]
    if "logits" in outputs:
        named["logits_sup"] = outputs["logits"]
    return named
