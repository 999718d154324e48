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


def undecayed(network):
    """Scales and offsets of normalisations (ours and Keras') and biases, which no rule decays or adapts: a list of trainable variables."""
    found = []
    for layer in network.submodules:
        if isinstance(layer, _NORMS):
            found.extend(layer.trainable_variables)
        elif isinstance(bias := getattr(layer, "bias", None), tf.Variable):
            found.append(bias)
    return found


def classifier_kernels(network):
    """The kernel of the classifier, which is decayed but not adapted (paper, appendix B.2): a list of one variable, or none."""
    return [layer.kernel for layer in network.submodules if isinstance(layer, SupervisedHead)]
