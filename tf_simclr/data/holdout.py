"""A part of the training split kept for evaluation, so that the test split is not used to choose settings."""

import numpy as np

from tf_simclr.data.source import Data
from tf_simclr.errors import UsageError

# One hold-out for everyone: it must not depend on the run's or the labels' seed, or some draw of labels would contain images that
# another draw is scored on.
_SEED = 20200617


def hold_out(source, fraction):
    """Splits a labelled source in two, with the same share of every class (rounded, at least one image) held out.

    Args:
      source: a `Source` with labels.
      fraction: share held out, in (0, 1).

    Returns:
      `Data`; both parts keep the order of the source.

    Raises:
      UsageError: no labels, or a class with fewer than two images.
    """
    if source.labels is None:
        raise UsageError("eval_on=holdout needs labels to hold out a share of every class, got images without labels; use eval_on=test")
    random = np.random.RandomState(_SEED)
    held = np.zeros(len(source), bool)
    for number, name in enumerate(source.class_names):
        members = np.flatnonzero(source.labels == number)
        if len(members) < 2:
            raise UsageError(
                f"eval_on=holdout needs at least 2 images of every class, got {len(members)} of class {name}; use eval_on=test"
            )
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        held[random.permutation(members)[:count]] = True
    return Data(source.take(np.flatnonzero(~held)), source.take(np.flatnonzero(held)))
