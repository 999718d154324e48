"""The k-NN vote against loops."""

import math

import numpy as np
import pytest

from tf_simclr.evaluation import knn


def _loops(bank, bank_labels, features, labels, classes, k, temperature):
    hits = 0
    for x, y in zip(features, labels):
        near = sorted(((x @ b / np.linalg.norm(x) / np.linalg.norm(b), c) for b, c in zip(bank, bank_labels)), reverse=True)[:k]
        votes = [sum(math.exp(s / temperature) for s, c in near if c == wanted) for wanted in range(classes)]
        hits += votes.index(max(votes)) == y
    return hits / len(features)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (7, 0.1), (7, 5.0), (60, 0.5)])
def test_against_loops(monkeypatch, k, temperature):
    monkeypatch.setattr(knn, "BLOCK_ELEMENTS", 60 * 7)  # several blocks, the last one smaller
    rng = np.random.default_rng(k)
    bank, queries = rng.normal(size=[60, 5]), rng.normal(size=[40, 5])
    bank_labels, labels = rng.integers(0, 4, 60), rng.integers(0, 4, 40)
    expected = _loops(bank, bank_labels, queries, labels, 4, k, temperature)
    assert knn.knn_accuracy(bank, bank_labels, queries, labels, 4, k, temperature) == expected


def test_length_of_features_does_not_matter():
    bank = np.array([[100.0, 0.0], [0.0, 0.01]])
    assert knn.knn_accuracy(bank, [0, 1], np.array([[0.1, 1.0], [3.0, 1.0]]), [1, 0], 2, neighbours=1) == 1.0


def test_small_bank_and_small_temperature():
    assert knn.knn_accuracy(np.eye(2), [0, 1], np.eye(2), [0, 1], 2, neighbours=20, temperature=1e-4) == 1.0
