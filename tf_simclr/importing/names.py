"""What the variables of the released SimCLR models are called, and which layer each name stands for.

Both kinds of release number convolutions and BatchNorms of the encoder in order of creation, the first one without a suffix; a TF2
SavedModel puts the same numbers at the end of longer paths. The last two parts of a name are enough to tell it.
"""

import re
from typing import NamedTuple

from tf_simclr.errors import UsageError


class Slot(NamedTuple):
    """One variable's place in a released model.

    Attributes:
      part: 'conv' or 'norm' (of the encoder), 'head' (projection head), 'classifier'.
      index: number of the layer within that part, by order of creation.
      variable: kernel, bias, gamma, beta, moving_mean or moving_variance.
    """

    part: str
    index: int
    variable: str

    def __str__(self):
        """The end of the name, alike in both kinds of release."""
        if self.part == "classifier":
            return f"linear_layer/dense/{self.variable}"
        if self.part == "head":
            return f"nl_{self.index}/{'dense' if self.variable == 'kernel' else 'batch_normalization'}/{self.variable}"
        layer = {"conv": "conv2d", "norm": "batch_normalization"}[self.part]
        return f"{layer}_{self.index}/{self.variable}" if self.index else f"{layer}/{self.variable}"


_ENCODER = r"(?:base_model|resnet)/(?:.+/)?"
_HEAD = r"(?:head_contrastive|projection_head)/nl_(?P<index>\d+)/(?:.+/)?"
_NORM = r"(?:sync_)?batch_normalization"
_IN_NORM = r"/(?P<variable>gamma|beta|moving_mean|moving_variance)"
_COUNTED = r"(?:_(?P<index>\d+))?"
_UNCOUNTED = r"(?:_\d+)?"  # a number that goes on counting after another part of the model
_KNOWN = (
    ("conv", rf"{_ENCODER}conv2d{_COUNTED}/(?P<variable>kernel)"),
    ("norm", rf"{_ENCODER}{_NORM}{_COUNTED}{_IN_NORM}"),
    ("head", rf"{_HEAD}dense{_UNCOUNTED}/(?P<variable>kernel)"),
    ("head", rf"{_HEAD}{_NORM}{_UNCOUNTED}{_IN_NORM}"),
    ("classifier", rf"head_supervised/linear_layer/dense{_UNCOUNTED}/(?P<variable>kernel|bias)"),
)
_SKIPPED = (
    (r".+/Momentum", "momentum of the optimizer"),
    (r"ema_model/.+", "moving average of the weights"),
    (r"memory.*", "queue of past embeddings"),
    (r"global_step", "number of training steps"),
)


def why_skipped(name):
    """The reason why a variable of that name is left out, or None for one that is not."""
    return next((reason for pattern, reason in _SKIPPED if re.fullmatch(pattern, name)), None)


def slot_of(name):
    """The `Slot` that a name stands for, or None for a name that no released model has."""
    for part, pattern in _KNOWN:
        if found := re.fullmatch(pattern, name):
            parts = found.groupdict()
            return Slot(part, int(parts.get("index") or 0), parts["variable"])
    return None


def sort_names(names):
    """Sorts the names of a file into what they stand for.

    Args:
      names: iterable of str.

    Returns:
      (slots, skipped): a dict from `Slot` to name, and a dict from the reason to the names left out for it.

    Raises:
      UsageError: an unknown name, or two that stand for the same variable.
    """
    slots, skipped, unknown = {}, {}, []
    for name in sorted(names):
        reason, slot = why_skipped(name), slot_of(name)
        if reason:
            skipped.setdefault(reason, []).append(name)
        elif slot is None:
            unknown.append(name)
        elif slot in slots:
            raise UsageError(f"every variable must have one name, got {slots[slot]} and {name} for {slot}; give one model's variables")
        else:
            slots[slot] = name
    if unknown:
        raise UsageError(
            f"all variables must be those of a SimCLR model, got unknown {few(unknown)}; give a released checkpoint or SavedModel, or one"
            " with its names"
        )
    return slots, skipped


def few(items, most=3):
    """Items for a message; of many, the first ones and how many more there are."""
    shown = ", ".join(map(str, items[:most]))
    return shown + (f" and {len(items) - most} more" if len(items) > most else "")
