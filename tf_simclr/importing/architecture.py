"""The architecture of a released model, read from the shapes of its variables."""

from tf_simclr.config import ModelConfig
from tf_simclr.errors import UsageError
from tf_simclr.importing.names import Slot, few
from tf_simclr.models.blocks import BasicBlock, Bottleneck
from tf_simclr.models.resnet import GROUP_WIDTHS, LAYOUTS, scaled

_GIVE = "give a SimCLR model of an architecture that docs/import.md names"
# Number and size of the convolutions before the first 1×1, which is a shortcut: the stem, and whether it goes with selective kernels.
_STEMS = {(1, 7): ("imagenet", (False,)), (3, 3): ("imagenet", (True,)), (1, 3): ("cifar", (False, True))}


def read_architecture(shapes):
    """The architecture of the model with these variables.

    Depth, selective kernels and stem follow from how many convolutions there are and what size the first ones have; the width
    multiplier, fractions included, from their channels; the head from its own kernels. The shapes cannot tell the stems cifar and
    cifar2 apart (cifar is meant), nor selective kernels in shortcuts alone. Whether everything then fits is for `matching` to see.

    Args:
      shapes: dict from `Slot` to shape.

    Returns:
      A `ModelConfig` whose image_size is still open (0) and whose head_layers is 0 where there is no projection head.

    Raises:
      UsageError: no encoder, convolutions missing between others, or an architecture that this package does not have.
    """
    _check_ranks(shapes)
    kernels = _kernels(shapes)
    stem_size = next((i for i, kernel in enumerate(kernels) if kernel[0] == 1), len(kernels))
    body = kernels[stem_size:]
    spatial = next((kernel for kernel in body if kernel[0] > 1), None)
    stem, selective = _STEMS.get((stem_size, kernels[0][0]), ("", ()))
    if spatial is None or not stem:
        raise UsageError(
            f"a ResNet must begin with one 7×7, one 3×3 or three 3×3 and a 1×1 convolution, got {_sizes(kernels[:5])}, …; {_GIVE}"
        )
    block, sk = Bottleneck if body[1][0] == 1 else BasicBlock, spatial[3] == 2 * spatial[2]
    if sk not in selective:
        words = ("selective kernels in its blocks", "none in its stem") if sk else ("none in its blocks", "selective kernels in its stem")
        raise UsageError(f"selective kernels must be in stem and blocks or in neither, got a network with {' and '.join(words)}; {_GIVE}")
    if kernels[0][2] not in (1, 3):
        raise UsageError(f"images must have 1 or 3 channels, got a first convolution for {kernels[0][2]}; {_GIVE}")
    per_block = (3 if block is Bottleneck else 2) + (2 if sk else 0)
    depth = _depth(block, (len(body) - len(GROUP_WIDTHS)) / per_block)
    # Every group starts with the shortcut of its first block, at these positions.
    starts = [len(GROUP_WIDTHS[:g]) + per_block * sum(LAYOUTS[depth][1][:g]) for g in range(len(GROUP_WIDTHS))]
    channels = [kernels[stem_size - 1][3], *(body[start][3] // block.EXPANSION for start in starts if start < len(body))]
    head = _head(shapes, channels[-1] * block.EXPANSION)
    return ModelConfig(depth=depth, width=_width(channels), sk=sk, stem=stem, channels=kernels[0][2], **head)


def _check_ranks(shapes):
    """Raises UsageError for a variable of another number of dimensions than its kind has: kernels 4 or 2, all others 1."""
    for slot, shape in shapes.items():
        rank = (4 if slot.part == "conv" else 2) if slot.variable == "kernel" else 1
        if len(shape) != rank:
            raise UsageError(f"{slot} must have {rank} dimensions, got shape {list(shape)}; {_GIVE}")


def _kernels(shapes):
    """The encoder's convolution kernels in order. Raises UsageError where there are none, or one is missing between others."""
    found = {slot.index: shape for slot, shape in shapes.items() if slot.part == "conv"}
    if not found:
        raise UsageError("a SimCLR encoder has variables such as base_model/conv2d/kernel, got none of them; give a released model's file")
    missing = [Slot("conv", i, "kernel") for i in range(max(found)) if i not in found]
    if missing:
        raise UsageError(f"every convolution of the encoder is required, but {few(missing)} is missing; give the whole checkpoint")
    return [found[i] for i in sorted(found)]


def _depth(block, blocks):
    """The depth of a network with that many blocks; the last one may be incomplete, which is told later and by name."""
    depths = {sum(counts): depth for depth, (kind, counts) in LAYOUTS.items() if kind is block}
    if round(blocks) not in depths:
        known = ", ".join(f"{count} (ResNet-{depth})" for count, depth in depths.items())
        raise UsageError(f"a ResNet of {block.__name__} blocks must have as many as one of {known}, got {blocks:g}; {_GIVE}")
    return depths[round(blocks)]


def _width(channels):
    """The width multiplier: the exact one, or where rounding was at work the one of fewest decimals that explains most of the counts.

    Args:
      channels: channel counts of the stem and, as wide as inside the blocks, of every group.
    """
    plain = GROUP_WIDTHS[:1] + GROUP_WIDTHS
    exact = [seen / count for count, seen in zip(plain, channels)]
    if len(set(exact)) == 1:
        return exact[0]
    candidates = [width for digits in range(9) for ratio in exact if (width := round(ratio, digits)) > 0]
    return max(candidates, key=lambda width: sum(scaled(count, width) == seen for count, seen in zip(plain, channels)))


def _head(shapes, encoder_width):
    """Settings of the projection head."""
    layers = 1 + max((slot.index for slot in shapes if slot.part == "head"), default=-1)
    widths = [shape[-1] for i in range(layers) if (shape := shapes.get(Slot("head", i, "kernel")))]
    if not widths:
        return {"head_layers": layers}
    hidden = widths[0] if layers > 1 and widths[0] != encoder_width else 0
    return {"head_layers": layers, "head_width": hidden, "head_dim": widths[-1]}


def _sizes(kernels):
    return ", ".join(f"{kernel[0]}×{kernel[1]}" for kernel in kernels)
