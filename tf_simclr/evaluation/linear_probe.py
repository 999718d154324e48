"""Linear evaluation: multinomial logistic regression on frozen features (paper, section 3.1)."""

import numpy as np
import scipy.optimize
import scipy.special

L2_GRID = tuple(10.0**e for e in np.arange(1.0, -5.5, -0.5))  # strong to weak, so that each fit starts from the one before
UNVALIDATED_L2 = 1e-2  # where no class has two labels, nothing can be held out
FOLDS = 5
ONE_FOLD_ABOVE = 1000  # with so many labels one fold decides as well as five


def fit_logistic(features, labels, num_classes, l2=0.0, seed=0):
    """Minimises mean cross-entropy + l2 / 2 · ‖W‖², W being the weights of standardised features; the bias is free.

    The standardisation is folded into what is returned: `features @ weights + bias` are the logits.

    Args:
      features: float [N, D], N ≥ 1.
      labels: int [N] in [0, num_classes).
      num_classes: K; classes without a label are allowed.
      l2: weight penalty; 0: the one of `L2_GRID` with the least cross-entropy in stratified cross-validation on these labels.
      seed: int, of the folds.

    Returns:
      weights float32 [D, K], bias float32 [K], and the penalty used.
    """
    features, labels = np.asarray(features, np.float32), np.asarray(labels)
    mean, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, np.inf)  # a constant feature says nothing: its weight is 0
    x = ((features - mean) / scale).astype(np.float32)
    # Principal axes: the penalty does not see rotations, at most min(N, D) axes matter, and along them the problem is well scaled.
    axes = np.linalg.svd(x, full_matrices=False)[2].T if len(x) < x.shape[1] else np.linalg.eigh(x.T @ x)[1]
    x = x @ axes
    targets = np.eye(num_classes, dtype=np.float32)[labels]
    l2 = l2 or _cross_validated(x, labels, targets, seed)
    weights, bias = _minimise(x, targets, l2, tolerance=1e-5)
    weights = axes @ weights / scale[:, None]
    return weights.astype(np.float32), (bias - mean @ weights).astype(np.float32), float(l2)


def probabilities(features, weights, bias):
    """Softmax of the logits: features float [N, D], weights [D, K], bias [K]; float64 [N, K]."""
    return scipy.special.softmax(np.asarray(features, np.float64) @ weights + bias, axis=1)


def _loss(weights, bias, x, targets):
    """Mean cross-entropy, and the probabilities."""
    log_p = scipy.special.log_softmax(x @ weights.astype(np.float32) + bias, axis=1)
    return -np.mean(np.sum(targets * log_p, axis=1)), np.exp(log_p)


def _minimise(x, targets, l2, start=None, tolerance=1e-5):
    """Weights and bias of least loss, for x whose columns are uncorrelated."""
    classes = targets.shape[1]
    # The curvature at equal probabilities: in units of its root every coordinate is alike, and L-BFGS needs a third of the steps.
    units = 1.0 / np.sqrt(np.append(np.mean(x**2, axis=0) / classes + l2, 1.0 / classes))[:, None]

    def objective(flat):
        both = flat.reshape(-1, classes) * units
        value, p = _loss(both[:-1], both[-1], x, targets)
        residual = (p - targets) / len(x)
        gradient = np.vstack([x.T @ residual.astype(np.float32) + l2 * both[:-1], residual.sum(axis=0)]) * units
        return value + 0.5 * l2 * np.sum(both[:-1] ** 2), gradient.ravel().astype(np.float64)

    start = np.zeros([len(units), classes]) if start is None else np.vstack(start) / units
    options = {"maxiter": 1000, "maxfun": 2000, "gtol": tolerance, "ftol": tolerance**1.5}
    both = scipy.optimize.minimize(objective, start.ravel(), method="L-BFGS-B", jac=True, options=options).x.reshape(-1, classes) * units
    return both[:-1], both[-1]


def _cross_validated(x, labels, targets, seed):
    counts = np.bincount(labels)
    if counts.max() < 2:
        return UNVALIDATED_L2
    folds = int(np.clip(counts[counts > 0].min(), 2, FOLDS))
    fold = _stratified(labels, folds, seed)
    held_out = [fold == number for number in range(1 if len(x) > ONE_FOLD_ABOVE else folds)]
    fits = [None] * len(held_out)
    losses = []
    for l2 in L2_GRID:
        total = 0.0
        for i, out in enumerate(held_out):
            fits[i] = _minimise(x[~out], targets[~out], l2, fits[i], tolerance=1e-3)
            total += _loss(*fits[i], x[out], targets[out])[0] * out.sum()
        losses.append(total)
        # The loss falls, then rises: what comes after two rises is worse, and by far the slowest to fit.
        if len(losses) - 1 - int(np.argmin(losses)) >= 2:
            break
    return L2_GRID[int(np.argmin(losses))]


def _stratified(labels, folds, seed):
    """The fold of every label, int [N]: within a class 0, 1, … in turn over a shuffle; each class goes on where the last one ended."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % folds
    return fold
