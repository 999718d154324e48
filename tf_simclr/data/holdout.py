"""A part of the training split kept for evaluation, so that the test split is not used to choose settings."""

import numpy as np

from tf_simclr.data.source import Data
from tf_simclr.errors import UsageError

# One hold-out for everyone: it must not depend on the run's or the labels' seed, or some draw of labels would contain images that
# another draw is scored on.
_SEED = 20200617


def hold_out(source, fraction):
    """Splits a labelled source in two, with the same share of every class (rounded, at least one image) held out.

    Copies of a held-out image are held out with it; images without a label are not.

    Args:
      source: a `Source` with labels.
      fraction: share held out, in (0, 1).

    Returns:
      `Data`; both parts keep the order of the source.

    Raises:
      UsageError: no labels, or a class with fewer than two different images.
    """
    if source.labels is None:
        raise UsageError(
            "eval_on=holdout needs labels to hold out a share of every class, got images without labels; give labels, or labelled images to"
            " evaluate on (eval_data_dir)"
        )
    random = np.random.RandomState(_SEED)
    held = np.zeros(len(source), bool)
    for number in range(len(source.class_names)):
        members = np.flatnonzero(source.labels == number)
        count = min(max(1, round(fraction * len(members))), max(1, len(members) - 1))
        held[random.permutation(members)[:count]] = True
    digests = source.digests()
    held = np.isin(digests, digests[held]) & (source.labels >= 0)
    for number, name in enumerate(source.class_names):
        if not np.any(~held[source.labels == number]):
            raise UsageError(
                f"eval_on=holdout needs at least 2 different images of every class, got {np.sum(source.labels == number)} of class"
                f" {name}; add images of it or leave it out, or give images to evaluate on (eval_data_dir)"
            )
    return Data(source.take(np.flatnonzero(~held)), source.take(np.flatnonzero(held)))
