"""Scores against tiny cases computed by hand, and against loops."""

import json

import numpy as np
import pytest

from tf_simclr.errors import UsageError
from tf_simclr.evaluation.metrics import reliability, score


def test_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.4, 0.5, 0.1], [0.1, 0.9, 0.0], [0.3, 0.3, 0.4]])
    scores = score(probabilities, np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert scores["images"] == 4
    assert scores["top1"] == 0.5
    assert "top5" not in scores
    assert scores["balanced_accuracy"] == 0.5
    assert scores["confusion"] == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]
    assert scores["per_class"] == [
        {"name": "a", "images": 2, "accuracy": 0.5},
        {"name": "b", "images": 2, "accuracy": 0.5},
        {"name": "c", "images": 0, "accuracy": None},
    ]
    # Confidences 0.7 (right), 0.5 (wrong), 0.9 (right), 0.4 (wrong), each in a bin of its own.
    assert scores["ece"] == pytest.approx((0.3 + 0.5 + 0.1 + 0.4) / 4)
    assert json.loads(json.dumps(scores)) == scores


def test_calibration_is_measured_within_bins():
    # One bin: 0.61 and 0.65, one right of two; gaps of single images would not cancel, their mean's does.
    bins = reliability(np.array([0.61, 0.65]), np.array([True, False]))
    assert [b["images"] for b in bins] == [0] * 9 + [2] + [0] * 5
    assert bins[9]["accuracy"] == 0.5 and bins[9]["confidence"] == pytest.approx(0.63)
    assert bins[0]["accuracy"] is None


def test_edges_belong_to_the_lower_bin():
    bins = reliability(np.array([1.0, 0.0, 5 / 15]), np.array([True, False, True]))
    assert [i for i, b in enumerate(bins) if b["images"]] == [0, 4, 14]


def test_against_loops():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(8, 0.5), 200)
    labels = rng.integers(0, 7, 200)  # class 7 has no images
    scores = score(probabilities, labels, list("abcdefgh"))
    confusion, top5, bins = np.zeros([8, 8], int), 0, {}
    for p, y in zip(probabilities, labels):
        order = sorted(range(8), key=lambda k: -p[k])
        confusion[y, order[0]] += 1
        top5 += y in order[:5]
        edge = next(i for i in range(15) if p.max() <= (i + 1) / 15)
        bins.setdefault(edge, []).append((order[0] == y, p.max()))
    assert scores["confusion"] == confusion.tolist()
    assert scores["top1"] == np.trace(confusion) / 200
    assert scores["top5"] == top5 / 200
    assert scores["balanced_accuracy"] == pytest.approx(np.mean([confusion[k, k] / confusion[k].sum() for k in range(7)]))
    assert scores["ece"] == pytest.approx(sum(abs(sum(r for r, _ in b) - sum(c for _, c in b)) for b in bins.values()) / 200)


def test_ties_count_as_argmax_decides():
    scores = score(np.full([6, 6], 1 / 6), np.arange(6), list("abcdef"))
    assert scores["top1"] == pytest.approx(1 / 6)
    assert scores["top5"] == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("probabilities", "labels", "words"),
    [
        (np.ones([2, 3]) / 3, [0, 1], r"\[2, 2\].*got \[2, 3\]"),
        (np.ones([0, 2]), [], "at least one image"),
        (np.ones([2, 2]) / 2, [0, 2], r"0\.\.1.*got 0\.\.2"),
        (np.array([[np.nan, 1.0]]), [0], "finite"),
    ],
)
def test_refuses(probabilities, labels, words):
    with pytest.raises(UsageError, match=words):
        score(probabilities, np.array(labels, int), ["a", "b"])
