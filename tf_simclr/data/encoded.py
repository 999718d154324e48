"""A `Source` of encoded images, which are decoded when they are used."""

import numpy as np

from tf_simclr.data.check import check_images, enforce
from tf_simclr.data.source import Source, checked_labels
from tf_simclr.errors import UsageError

_LARGEST = 224  # the field's usual input for photographs


def as_encoded(encoded, labels, class_names, on_disk, limits, what):
    """Makes a `Source` of encoded images; all are looked at, and those that cannot be decoded are left out.

    The others decide on channels (grey if all of them are) and on the input size (the median of their shorter sides, at most 224).

    Args:
      encoded: array of objects [N]: paths (with `on_disk`) or encoded bytes.
      labels: integers [N], ≥ 0, or None.
      class_names: names in label order; empty names the classes by their numbers.
      on_disk: bool.
      limits: a `DataConfig`: max_pixels, max_bytes, max_bad_fraction.
      what: where the images come from, for messages.

    Raises:
      UsageError: too many bad images, no good one, a class left without images, or labels that do not fit.
    """
    labels, names = checked_labels(labels, len(encoded), class_names, what)
    checked = check_images(encoded, on_disk, limits, what)
    enforce(checked.bad, len(encoded), limits, what)
    if not len(checked.kept):
        raise UsageError(f"{what} needs at least one image that can be read, got none; see the formats in docs/images.md")
    if labels is not None:
        before, labels = labels, labels[checked.kept]
        gone = sorted(set(before) - set(labels))
        if gone:
            raise UsageError(f"every class needs images, got only bad ones of class {names[gone[0]]} in {what}; mend or remove them")
    shapes = np.array([(facts.height, facts.width, facts.channels) for facts in checked.facts])
    channels = 1 if shapes[:, 2].max() <= 2 else 3
    size = int(max(1, min(_LARGEST, np.median(shapes[:, :2].min(axis=1)))))
    digests = np.array([facts.digest for facts in checked.facts])
    return Source(
        channels, size, encoded=encoded[checked.kept], on_disk=on_disk, labels=labels, class_names=names, digests=digests, bad=checked.bad
    )
