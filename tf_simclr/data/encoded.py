"""A `Source` of encoded images, which are decoded when they are used."""

import numpy as np

from tf_simclr.data.check import check_images, enforce
from tf_simclr.data.source import Source, checked_labels
from tf_simclr.errors import UsageError

_LARGEST = 224  # the field's usual input for photographs


def as_encoded(keys, labels, class_names, storage, limits, what, check=True):
    """Makes a `Source` of encoded images; all are looked at, and those that cannot be decoded are left out.

    The others decide on channels (grey if all of them are) and on the input size (the median of their shorter sides, at most 224).

    Args:
      keys: array of objects [N], keys in the storage.
      labels: integers [N], ≥ 0 or -1 for an image without a label; or None.
      class_names: names in label order; empty names the classes by their numbers.
      storage: see `data.storage`.
      limits: a `DataConfig`: max_pixels, max_bytes, max_bad_fraction.
      what: where the images come from, for messages.
      check: whether the images are looked at. Else all are in the `Source`, bad ones among them; it says 3 channels, size 0 and no facts.

    Raises:
      UsageError: too many bad images, no good one, a class left without images, or labels that do not fit.
    """
    labels, names = checked_labels(labels, len(keys), class_names, what)
    if not check:
        return Source(3, 0, encoded=keys, storage=storage, labels=labels, class_names=names)
    checked = check_images(keys, storage, limits, what)
    enforce(checked.bad, len(keys), limits, what)
    if not len(checked.kept):
        raise UsageError(f"{what} needs at least one image that can be read, got none; see the formats in docs/images.md")
    if labels is not None:
        before, labels = labels, labels[checked.kept]
        gone = sorted(set(before[before >= 0]) - set(labels))
        if gone:
            raise UsageError(f"every class needs images, got only bad ones of class {names[gone[0]]} in {what}; mend or remove them")
    channels = 1 if checked.facts["channels"].max() <= 2 else 3
    shorter = np.minimum(checked.facts["height"], checked.facts["width"])
    size = int(max(1, min(_LARGEST, np.median(shorter))))
    return Source(
        channels,
        size,
        encoded=keys[checked.kept],
        storage=storage,
        labels=labels,
        class_names=names,
        facts=checked.facts,
        bad=checked.bad,
        bad_share=len(checked.bad) / len(keys),
    )
