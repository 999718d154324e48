"""How good the features are while pretraining goes on; labels are looked at, never learnt from."""

import numpy as np

from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extractor
from tf_simclr.evaluation.knn import knn_accuracy
from tf_simclr.evaluation.linear_probe import fit_logistic

BANK, QUERIES, PROBED = 5_000, 2_000, 500
_L2 = 1e-2  # fixed: a probe is for comparing epochs, and choosing the penalty anew each time would cost more than it tells


def probe(network, data, batch_size):
    """Prepares the measurement of pooled features.

    Args:
      network: the `Network` in training.
      data: a `Data` whose splits both have labels.
      batch_size: images per step.

    Returns:
      A function without arguments that returns a dict: knn, accuracy of a 20-nearest-neighbour vote of up to 5,000 training
      images, and linear_probe, of a logistic regression on up to 500 of them; both on up to 2,000 evaluation images, in [0, 1].
    """
    bank, queries = _sample(data.train, BANK), _sample(data.evaluation, QUERIES)
    classes = len(bank.class_names)

    infer = extractor(network)

    def pooled(source):
        return infer(plain_batches(source, spec=network.spec, batch_size=batch_size))["features"][0]

    def measure():
        known, asked = pooled(bank), pooled(queries)
        weights, bias, _ = fit_logistic(known[:PROBED], bank.labels[:PROBED], classes, l2=_L2)
        return {
            "knn": knn_accuracy(known, bank.labels, asked, queries.labels, classes),
            "linear_probe": float(np.mean(np.argmax(asked @ weights + bias, axis=1) == queries.labels)),
        }

    return measure


def _sample(source, most):
    """At most so many labelled images, always the same, in random order."""
    return source.take(np.random.default_rng(0).permutation(source.labelled)[:most])
