"""Scores of a classifier from its probabilities; NumPy alone."""

import numpy as np

from tf_simclr.errors import UsageError

BINS = 15


def score(probabilities, labels, class_names):
    """All scores of N classified images, as plain data that JSON can hold.

    Args:
      probabilities: float [N, K], finite, N ≥ 1; rows sum to 1.
      labels: int [N] in [0, K).
      class_names: K names in label order.

    Returns:
      dict; every score is a fraction in [0, 1]:
        images: N.
        top1: share of images whose likeliest class is the label; of equally likely ones the first counts.
        top5: share whose label is among the five likeliest classes; absent where K ≤ 5.
        balanced_accuracy: mean of the per-class accuracies, over classes that have images.
        ece: expected calibration error, see `reliability`.
        per_class: K dicts of name, images and accuracy (recall; None without images).
        confusion: K lists of K counts; rows are true classes, columns predicted ones.
        reliability: the bins behind `ece`.

    Raises:
      UsageError: shapes that do not fit each other, a label out of range, a probability that is not finite.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    _check(probabilities, labels, class_names)
    counts = np.bincount(labels, minlength=len(class_names))
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros([len(class_names)] * 2, np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    recall = confusion.diagonal() / np.maximum(counts, 1)
    bins = reliability(probabilities.max(axis=1), predicted == labels)
    scores = {"images": len(labels), "top1": float(np.mean(predicted == labels))}
    if len(class_names) > 5:
        scores["top5"] = float(np.mean(_rank(probabilities, labels) < 5))
    return {
        **scores,
        "balanced_accuracy": float(recall[counts > 0].mean()),
        "ece": sum(b["images"] * abs(b["accuracy"] - b["confidence"]) for b in bins if b["images"]) / len(labels),
        "per_class": [
            {"name": str(name), "images": int(n), "accuracy": float(r) if n else None} for name, n, r in zip(class_names, counts, recall)
        ],
        "confusion": confusion.tolist(),
        "reliability": bins,
    }


def reliability(confidence, correct):
    """Accuracy against confidence in 15 bins of equal width (Guo et al. 2017, section 2).

    The expected calibration error is the mean over images of |accuracy - confidence| of their bins.

    Args:
      confidence: float [N] in [0, 1], probability of the predicted class.
      correct: bool [N].

    Returns:
      15 dicts of low, high (the bin is low < confidence ≤ high), images, accuracy and mean confidence (None where it is empty).
    """
    which = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    bins = []
    for i in range(BINS):
        inside = which == i
        filled = bool(inside.any())
        bins.append(
            {
                "low": i / BINS,
                "high": (i + 1) / BINS,
                "images": int(inside.sum()),
                "accuracy": float(correct[inside].mean()) if filled else None,
                "confidence": float(confidence[inside].mean()) if filled else None,
            }
        )
    return bins


def _rank(probabilities, labels):
    """How many classes come before the label, int [N]; ties are broken as argmax breaks them."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)
    before = np.arange(probabilities.shape[1]) < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)


def _check(probabilities, labels, class_names):
    wanted = (len(labels), len(class_names))
    if len(labels) == 0 or probabilities.shape != wanted:
        raise UsageError(
            f"scoring needs probabilities of shape [images, classes] = {list(wanted)} with at least one image,"
            f" got {list(probabilities.shape)}; give one row for each label and one column for each class name"
        )
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise UsageError(
            f"labels must be in 0..{len(class_names) - 1}, as there are {len(class_names)} class names,"
            f" got {labels.min()}..{labels.max()}; score on data with the classes of the training"
        )
    if not np.isfinite(probabilities).all():
        raise UsageError("probabilities must be finite, got NaN or infinity; the network diverged: train with a smaller learning rate")
