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
    x = np.vstack([axes.T @ x.T, np.ones([1, len(x)], np.float32)])  # examples last: sums over few classes are slow along the last axis
    l2, start = (l2, None) if l2 else _cross_validated(x, labels, num_classes, seed)
    both = _minimise(x, labels, num_classes, l2, start, tolerance=1e-4)
    weights = axes @ both[:, :-1].T / scale[:, None]
    return weights.astype(np.float32), (both[:, -1] - mean @ weights).astype(np.float32), float(l2)


def probabilities(features, weights, bias):
    """Softmax of the logits: features float [N, D], weights [D, K], bias [K]; float64 [N, K]."""
    return scipy.special.softmax(np.asarray(features, np.float64) @ weights + bias, axis=1)


def _loss(both, x, labels):
    """Mean cross-entropy, and the probabilities float32 [K, N], of weights and bias float [K, D+1]; x float32 [D+1, N] ends with ones."""
    logits = both.astype(np.float32) @ x
    logits -= logits.max(axis=0)
    own = logits[labels, np.arange(len(labels))]
    p = np.exp(logits, out=logits)
    total = p.sum(axis=0)
    p /= total
    return np.mean(np.log(total) - own, dtype=np.float64), p


class _Objective:
    """What is minimised, for SciPy: a function of the K · (D+1) weights and biases, flat.

    They count in units of the root of the curvature at equal probabilities, in which every coordinate is alike.
    """

    def __init__(self, x, labels, classes, l2):
        self._x, self._labels = x, labels
        self._penalty = np.append(np.full(len(x) - 1, l2), 0.0)
        self._at = None
        self.units = 1.0 / np.sqrt(np.einsum("dn,dn->d", x, x) / (len(labels) * classes) + self._penalty)
        self.start = np.zeros([classes, len(x)])

    def value_and_gradient(self, flat):
        both = flat.reshape(self.start.shape) * self.units
        value, self._p = _loss(both, self._x, self._labels)
        self._at = flat.copy()
        residual = self._p.copy()
        residual[self._labels, np.arange(len(self._labels))] -= 1.0
        return value + 0.5 * np.sum(self._penalty * both**2), self._back(residual, both)

    def curvature(self, flat, direction):
        """The Hessian at `flat` times a direction."""
        if not np.array_equal(flat, self._at):  # the last one looked at was a step that was not taken
            self.value_and_gradient(flat)
        both = direction.reshape(self.start.shape) * self.units
        moved = both.astype(np.float32) @ self._x
        moved *= self._p
        moved -= self._p * moved.sum(axis=0)
        return self._back(moved, both)

    def _back(self, residual, both):
        """What a change of the logits, float32 [K, N], means for the coordinates."""
        return ((residual @ self._x.T / len(self._labels) + self._penalty * both) * self.units).ravel()


def _minimise(x, labels, classes, l2, start=None, tolerance=1e-4):
    """Weights and bias of least loss, float64 [K, D+1], for x whose rows are uncorrelated.

    By Newton's method on the full batch, each step by conjugate gradients. It takes more passes than L-BFGS but half the time: SciPy's
    L-BFGS has threads of its own, which wait for those of NumPy.
    """
    objective = _Objective(x, labels, classes, l2)
    start = objective.start if start is None else start / objective.units
    found = scipy.optimize.minimize(
        objective.value_and_gradient,
        start.ravel(),
        method="trust-ncg",
        jac=True,
        hessp=objective.curvature,
        options={"gtol": tolerance, "maxiter": 100, "initial_trust_radius": 10.0, "max_trust_radius": 1e4},
    )
    return found.x.reshape(start.shape) * objective.units


def _cross_validated(x, labels, classes, seed):
    """The penalty of least held-out loss, and weights and bias to start from."""
    counts = np.bincount(labels)
    if counts.max() < 2:
        return UNVALIDATED_L2, None
    folds = int(np.clip(counts[counts > 0].min(), 2, FOLDS))
    fold = _stratified(labels, folds, seed)
    held_out = [fold == number for number in range(1 if len(labels) > ONE_FOLD_ABOVE else folds)]
    fits = [None] * len(held_out)
    losses, firsts = [], []
    for l2 in L2_GRID:
        total = 0.0
        for i, out in enumerate(held_out):
            fits[i] = _minimise(x[:, ~out], labels[~out], classes, l2, fits[i], tolerance=3e-3)
            total += _loss(fits[i], x[:, out], labels[out])[0] * out.sum()
        losses.append(total)
        firsts.append(fits[0])
        # The loss falls, then rises: what comes after two rises is worse, and by far the slowest to fit.
        if len(losses) - 1 - int(np.argmin(losses)) >= 2:
            break
    best = int(np.argmin(losses))
    return L2_GRID[best], firsts[best]


def _stratified(labels, folds, seed):
    """The fold of every label, int [N]: within a class 0, 1, … in turn over a shuffle; each class goes on where the last one ended."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % folds
    return fold
