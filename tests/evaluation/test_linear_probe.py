"""The logistic regression: at its minimum, in the units of its features, with a penalty worth having."""

import numpy as np
import pytest
import scipy.optimize

from tf_simclr.evaluation import linear_probe
from tf_simclr.evaluation.linear_probe import fit_logistic, probabilities


def _data(n, dim, classes, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    centres = rng.normal(size=[classes, dim])
    features = centres[labels] + noise * rng.normal(size=[n, dim])
    return (features * rng.uniform(0.1, 30.0, dim) + rng.normal(size=dim) * 5).astype(np.float32), labels


@pytest.mark.parametrize(("n", "dim"), [(90, 7), (24, 60)])
def test_gradient_is_zero_in_standardised_features(n, dim):
    features, labels = _data(n, dim, 3)
    weights, bias, used = fit_logistic(features, labels, 3, l2=0.1)
    assert used == 0.1
    scale = features.std(axis=0)
    x = (features - features.mean(axis=0)) / scale
    residual = (probabilities(features, weights, bias) - np.eye(3)[labels]) / n
    assert np.abs(x.T @ residual + 0.1 * weights * scale[:, None]).max() < 2e-4
    assert np.abs(residual.sum(axis=0)).max() < 2e-4
    # The penalty matters: without it the gradient would not be zero here.
    assert np.abs(x.T @ residual).max() > 1e-2


def test_folding_against_explicit_standardisation():
    features, labels = _data(60, 4, 3)
    x = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float64)

    def loss(flat):
        w, b = flat[:12].reshape(4, 3), flat[12:]
        logits = x @ w + b
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(60), labels]) + 0.025 * np.sum(w**2)

    best = scipy.optimize.minimize(loss, np.zeros(15), method="BFGS").x
    logits = x @ best[:12].reshape(4, 3) + best[12:]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    weights, bias, _ = fit_logistic(features, labels, 3, l2=0.05)
    assert weights.dtype == bias.dtype == np.float32
    np.testing.assert_allclose(probabilities(features, weights, bias), expected, atol=2e-4)


def test_constant_feature_has_no_weight():
    features, labels = _data(40, 3, 2)
    features[:, 1] = 7.3
    weights, _, _ = fit_logistic(features, labels, 2, l2=0.01)
    assert np.all(weights[1] == 0) and np.all(np.isfinite(weights)) and np.abs(weights[0]).max() > 0


def test_cross_validation_follows_the_noise():
    clean, noisy = _data(60, 40, 3, noise=0.3), _data(60, 40, 3, noise=6.0)
    used = [fit_logistic(*data, 3)[2] for data in (clean, noisy)]
    assert used[0] < 0.1 < used[1]
    assert fit_logistic(*noisy, 3)[2] == used[1]  # the folds are a function of the seed


def test_one_label_per_class_and_absent_classes():
    features, _ = _data(3, 5, 3)
    weights, bias, used = fit_logistic(features, np.array([0, 1, 3]), 5)
    assert used == linear_probe.UNVALIDATED_L2
    assert weights.shape == (5, 5) and bias.shape == (5,)
    assert probabilities(features, weights, bias).argmax(axis=1).tolist() == [0, 1, 3]


def test_folds_are_stratified():
    labels = np.repeat([0, 1, 2], [10, 20, 7])
    fold = linear_probe._stratified(labels, 5, seed=3)
    for label, count in enumerate([10, 20, 7]):
        sizes = np.bincount(fold[labels == label], minlength=5)
        assert sizes.max() - sizes.min() <= 1 and sizes.sum() == count
    assert not np.array_equal(fold, linear_probe._stratified(labels, 5, seed=4))
