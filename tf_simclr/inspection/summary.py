"""What a data set holds, as plain data; nothing is decoded here."""

import collections

import numpy as np

from tf_simclr.data.overlap import find_overlap
from tf_simclr.data.source import NO_LABEL

_SHOWN = 5
_CHANNELS = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGB with alpha"}


def summarise(data):
    """Counts what there is.

    Args:
      data: a `Data`; images that cannot be used are in its `bad`.

    Returns:
      dict that JSON can hold:
        images, labelled, unlabelled, evaluation_images: counts of usable images; the first is the sum of the two after it.
        bad: count, and examples, dicts of path and reason.
        formats, channels: {name: images} of the training images; images in arrays have the format "pixels".
        width, height: dicts of least, median and largest, in pixels.
        square: share of images that are as wide as high.
        classes: list of name, images and evaluation_images, in label order.
        copies: images whose content came before in the training split; examples, lists of names; conflicts, those of them with
          different labels.
        overlap: images in two of the labelled, unlabelled and evaluation sets, lists of set, name, set, name.
    """
    train, evaluation = data.train, data.evaluation
    heights, widths, channels, formats = _shapes(train)
    labelled = len(train.labelled)
    return {
        "images": len(train),
        "labelled": labelled,
        "unlabelled": len(train) - labelled,
        "evaluation_images": 0 if evaluation is None else len(evaluation),
        "bad": {
            "images": len(data.bad),
            "largest_share": max(part.bad_share for part in (train, evaluation) if part is not None),
            "examples": [{"path": path, "reason": reason} for path, reason in data.bad[:_SHOWN]],
        },
        "formats": _counts(formats),
        "channels": _counts(_CHANNELS[int(count)] for count in channels),
        "width": _range(widths),
        "height": _range(heights),
        "square": float(np.mean(heights == widths)),
        "classes": [
            {"name": name, "images": int(np.sum(train.labels == i)), "evaluation_images": _of_class(evaluation, i)}
            for i, name in enumerate(train.class_names)
        ],
        "copies": _copies(train),
        "overlap": [list(row) for row in find_overlap(data)],
    }


def _shapes(source):
    """Heights, widths, channels [N] as stored, and formats."""
    if source.facts is not None:
        return source.facts["height"], source.facts["width"], source.facts["channels"], source.facts["format"]
    count, height, width, channels = source.images.shape
    return np.full(count, height), np.full(count, width), np.full(count, channels), np.full(count, "pixels")


def _counts(items):
    return dict(collections.Counter(map(str, items)).most_common())


def _range(sides):
    return {"least": int(sides.min()), "median": int(np.median(sides)), "largest": int(sides.max())}


def _of_class(evaluation, number):
    return 0 if evaluation is None else int(np.sum(evaluation.labels == number))


def _copies(source):
    """Images with the same content: see `summarise`."""
    digests = source.digests()
    _, first, group, sizes = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    conflicting = np.zeros(0, int)
    if source.labels is not None:
        labelled = source.labels != NO_LABEL
        of_labels = np.unique(np.stack([group[labelled], source.labels[labelled]]), axis=1)[0]  # each group once for each label that it has
        conflicting = np.flatnonzero(np.bincount(of_labels, minlength=len(sizes)) > 1)

    def names(groups):
        return [[source.name(i) for i in np.flatnonzero(group == number)[:_SHOWN]] for number in groups[:_SHOWN]]

    return {"images": int(len(digests) - len(first)), "examples": names(np.flatnonzero(sizes > 1)), "conflicts": names(conflicting)}
