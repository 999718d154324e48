"""Which of our variables gets which of theirs."""

import itertools

from tf_simclr.errors import UsageError
from tf_simclr.importing.names import Slot, few
from tf_simclr.models.blocks import ConvNorm, SelectiveKernel

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def places(network):
    """The variables of a network by their place in the released models.

    The numbers count the order of creation there: the stem; then block after block, the shortcut of a group's first block before its
    branch; a selective kernel's two streams, squeeze and mixing convolution, of which the last has no BatchNorm, so that
    from there on the numbers of convolutions and BatchNorms drift apart.

    Args:
      network: a built `models.network.Network`.

    Returns:
      dict from `Slot` to the variable, in that order.
    """
    convs, norms = itertools.count(), itertools.count()
    found = {}
    for layer in encoder_layers(network.encoder):
        conv = layer.conv if isinstance(layer, ConvNorm) else layer
        found[Slot("conv", next(convs), "kernel")] = conv.conv.kernel
        if isinstance(layer, ConvNorm):
            found |= _norm_places("norm", next(norms), layer.norm)
    for index, layer in enumerate(network.head.layers):
        found |= {Slot("head", index, "kernel"): layer.dense.kernel, **_norm_places("head", index, layer.norm)}
    if network.classifier is not None:
        found |= {Slot("classifier", 0, name): getattr(network.classifier, name) for name in ("kernel", "bias")}
    return found


def encoder_layers(encoder):
    """A `ResNet`'s layers in the released models' order of creation: `ConvNorm`, and `Conv` for a convolution without BatchNorm."""
    yield from encoder.stem.convs
    for block in itertools.chain(*encoder.groups):
        if block.shortcut is not None:
            yield block.shortcut.project
        for layer in block.branch:
            yield from (layer.streams, layer.squeeze, layer.mixing) if isinstance(layer, SelectiveKernel) else (layer,)


def _norm_places(part, index, norm):
    return {Slot(part, index, name): v for name in _NORM if (v := getattr(norm, name)) is not None}


def check_match(found, shapes):
    """Sees to it that every variable of a network has exactly one of its shape to be restored from.

    Args:
      found: the network's variables, as `places` gives them.
      shapes: dict from `Slot` to shape, what there is to restore, without what the network leaves unused.

    Raises:
      UsageError: variables that are missing, have another shape, or have no place; by name.
    """
    wrong = [
        f"{slot} has shape {list(shapes[slot])} instead of {v.shape.as_list()}"
        for slot, v in found.items()
        if slot in shapes and shapes[slot] != tuple(v.shape)
    ]
    complaints = (
        ("missing: ", [slot for slot in found if slot not in shapes]),
        ("", wrong),
        ("without a place: ", [slot for slot in shapes if slot not in found]),
    )
    said = "; ".join(words + few(items) for words, items in complaints if items)
    if said:
        raise UsageError(
            f"every variable of the network must be in the file once and nothing else, got {said}; give a released model's whole file"
        )
