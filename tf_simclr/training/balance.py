"""A teacher whose answers, over the unlabelled images, name every class as often as every other.

Not part of SimCLRv2: what few labels teach favours some classes, and a student learns that from its teacher. Where every class is known
to be as frequent as every other, the teacher is corrected first, as ReMixMatch does while it trains (Berthelot et al., 2020, section 3.1,
distribution alignment).
"""

import numpy as np
from absl import logging

from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extractor
from tf_simclr.progress import with_progress

_ROUNDS = 1000
_CLOSE = 1e-5


def balance(network, source, batch_size):
    """Shifts the biases of a network's classifier by `balancing_shift` of its answers on all images of a source.

    Args:
      network: a built `Network` with a classifier.
      source: a `Source`; its labels, if any, are not looked at.
      batch_size: images at a time.
    """
    infer, batches = extractor(network), plain_batches(source, spec=network.spec, batch_size=batch_size)
    logits = [infer([batch])["logits"] for batch in with_progress(batches, len(source), "balanced by", "images", len)]
    shift = balancing_shift(np.concatenate(logits))
    bias = network.classifier.bias
    bias.assign(bias + shift.astype(np.float32))
    logging.info("teacher balanced over %d images: its logits shifted by %s", len(source), " ".join(f"{x:+.2f}" for x in shift))


def balancing_shift(logits):
    """What added to all logits makes the mean probability of every class 1/K.

    Args:
      logits: float [N, K].

    Returns:
      float64 [K], of mean 0; after at most 1,000 rounds, in which a class that is hardly ever answered may not be there yet.
    """
    logits = np.asarray(logits, np.float64)
    shift, classes = np.zeros(logits.shape[1]), logits.shape[1]
    for _ in range(_ROUNDS):
        shifted = logits + shift
        odds = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        shares = classes * np.mean(odds / odds.sum(axis=1, keepdims=True), axis=0)
        if np.abs(shares - 1.0).max() < _CLOSE:
            break
        shift -= np.log(np.maximum(shares, 1e-9))
        shift -= shift.mean()
    return shift
