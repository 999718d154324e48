"""Weighted k-nearest-neighbour accuracy: what features are worth before any training on labels."""

import numpy as np

BLOCK_ELEMENTS = 2**23  # similarities held at once: 32 MiB


def knn_accuracy(bank_features, bank_labels, features, labels, num_classes, neighbours=20, temperature=0.1):
    """Classifies by a vote of the nearest bank features in cosine similarity, each with weight exp(similarity / temperature).

    Wu et al. 2018 (Unsupervised feature learning via non-parametric instance discrimination), section 3.4.

    Args:
      bank_features: float [M, D], M ≥ 1.
      bank_labels: int [M] in [0, num_classes).
      features: float [N, D], N ≥ 1.
      labels: int [N], the truth.
      num_classes: number of classes.
      neighbours: k; the whole bank votes where it is smaller.
      temperature: τ > 0.

    Returns:
      float in [0, 1], the share of features whose vote agrees with the label.
    """
    bank, features = unit(bank_features), unit(features)
    bank_labels, labels = np.asarray(bank_labels), np.asarray(labels)
    neighbours = min(neighbours, len(bank))
    block = max(1, BLOCK_ELEMENTS // len(bank))
    hits = 0
    for start in range(0, len(features), block):
        similarity = features[start : start + block] @ bank.T
        nearest = np.argpartition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
        near = np.take_along_axis(similarity, nearest, axis=1)
        # Only ratios of weights matter: the largest becomes 1, so that no temperature overflows.
        weights = np.exp((near - near.max(axis=1, keepdims=True)) / temperature)
        votes = np.zeros([len(near), num_classes])
        np.add.at(votes, (np.arange(len(near))[:, None], bank_labels[nearest]), weights)
        hits += int(np.sum(votes.argmax(axis=1) == labels[start : start + block]))
    return hits / len(features)


def unit(x):
    """Float [N, D] as float32 of length 1; a zero stays one."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
