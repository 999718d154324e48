"""Which variables weight decay and layer-wise adaptation leave alone, read off the layers' classes."""

import tensorflow as tf

from tf_simclr.models.layers import BatchNorm, SupervisedHead

# BatchNorm's two names in Keras have this base in common, which has none of its own.
_NORMS = (
    BatchNorm,
    tf.keras.layers.BatchNormalization.__base__,
    tf.keras.layers.LayerNormalization,
    tf.keras.layers.GroupNormalization,
)


def plain_variables(network):
    """Scales and offsets of normalisations (ours and Keras'), biases, and the whole classifier: a list of trainable variables of `network`.

    The classifier's kernel gets plain L2 in the loss instead (paper, appendix B.2); see `training/models.py`.
    """
    plain = []
    for layer in network.submodules:
        if isinstance(layer, (*_NORMS, SupervisedHead)):
            plain.extend(layer.trainable_variables)
        elif isinstance(bias := getattr(layer, "bias", None), tf.Variable):
            plain.append(bias)
    return plain
