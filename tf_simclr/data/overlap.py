"""Images that stand in two of the labelled, unlabelled and evaluation sets: a score on images that were trained on means little."""

import itertools

import numpy as np
from absl import logging

from tf_simclr.errors import UsageError


def find_overlap(data):
    """Images whose content (encoded bytes, or pixels) stands in two sets.

    Args:
      data: a `Data`.

    Returns:
      list of (set, name of the image there, other set, name of the image there); sets are labelled, unlabelled and evaluation.
    """
    train, labelled = data.train, data.train.labelled
    sets = {"labelled": (train, labelled), "unlabelled": (train, np.setdiff1d(np.arange(len(train)), labelled))}
    if data.evaluation is not None:
        sets["evaluation"] = (data.evaluation, np.arange(len(data.evaluation)))
    digests = {name: source.digests()[members] for name, (source, members) in sets.items()}
    found = []
    for one, other in itertools.combinations(sets, 2):
        _, here, there = np.intersect1d(digests[one], digests[other], return_indices=True)
        (first, mine), (second, theirs) = sets[one], sets[other]
        found += [(one, first.name(mine[i]), other, second.name(theirs[j])) for i, j in zip(here, there)]
    return found


def check_overlap(data, allow):
    """Looks for images in two sets.

    Args:
      data: a `Data`.
      allow: whether such images are only named in the log: a published test split is what it is.

    Raises:
      UsageError: there are some, and they are not allowed.
    """
    found = find_overlap(data)
    if not found:
        return
    shown = "; ".join(f"{name} ({one}) is {other_name} ({other})" for one, name, other, other_name in found[:3])
    if not allow:
        raise UsageError(
            f"labelled, unlabelled and evaluation images must be different ones, got {len(found):,} in two sets: {shown}; remove them from"
            " one, or say --allow_overlap"
        )
    logging.warning("%d images stand in two of the labelled, unlabelled and evaluation sets: %s", len(found), shown)
