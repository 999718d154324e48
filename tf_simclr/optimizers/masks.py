"""Which variables weight decay and layer-wise adaptation leave alone, read off the layers' classes."""

from tf_simclr.models.layers import BatchNorm, SupervisedHead


def plain_variables(network):
    """Scales and offsets of BatchNorm, biases, and the whole classifier: a list of trainable variables of `network`.

    The classifier's kernel gets plain L2 in the loss instead (paper, appendix B.2); see `training/models.py`.
    """
    plain = []
    for layer in network.submodules:
        if isinstance(layer, (BatchNorm, SupervisedHead)):
            plain.extend(layer.trainable_variables)
        elif getattr(layer, "use_bias", False):
            plain.append(layer.bias)
    return plain
