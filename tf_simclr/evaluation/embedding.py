"""What features look like: which images are near each other, and a map of them."""

import collections

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from scipy.linalg import eigh

from tf_simclr.evaluation.knn import unit
from tf_simclr.evaluation.picture import BLUE, GREY, PLAIN

_COLOURS = colormaps["tab10"].colors


def nearest(features, queries, count):
    """The nearest neighbours of some features among all, by cosine similarity.

    Args:
      features: float [N, D].
      queries: int [Q], which of them to find neighbours of.
      count: how many; all others where there are fewer.

    Returns:
      int [Q, min(count, N - 1)], the nearest first; no feature is its own neighbour.
    """
    directions = unit(features)
    similarity = directions[queries] @ directions.T
    similarity[np.arange(len(queries)), queries] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, : min(count, len(directions) - 1)]


def project(features):
    """The first two principal components.

    Args:
      features: float [N, D], N ≥ 1.

    Returns:
      points float [N, 2], and the shares of the variance that the two explain, float [2], 0 where there is none.
    """
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0, dtype=np.float64)
    centred = np.pad(centred, [(0, 0), (0, max(0, 2 - centred.shape[1]))])  # one dimension is a line in two
    size = centred.shape[1]
    variances, axes = eigh(centred.T @ centred, subset_by_index=[size - 2, size - 1])
    total = np.sum(centred**2)
    return centred @ axes[:, ::-1], np.maximum(variances[::-1], 0) / (total if total > 0 else 1.0)


def draw_map(points, shares, names, title):
    """The map as a matplotlib `Figure`.

    Args:
      points, shares: what `project` returns.
      names: list of N class names, "" for none; or None, for points of one colour. The ten most frequent have a colour each.
      title: text above it.
    """
    figure = Figure(figsize=(8.5, 7.0), layout="constrained")
    axes = figure.add_subplot()
    style = {"s": 14, "alpha": 0.8, "linewidths": 0}
    if names is None:
        axes.scatter(*points.T, color=BLUE, **style)
    else:
        names, written = np.array(names, object), []
        counts = collections.Counter(name for name in names if name).most_common()
        shown = [name for name, _ in counts[: len(_COLOURS)]]
        others = ~np.isin(names, shown)
        if others.any():
            axes.scatter(*points[others].T, color=GREY, label="0", **style)
            written.append("others" if len(counts) > len(shown) else "no class")
        for name, colour in zip(shown, _COLOURS):
            axes.scatter(*points[names == name].T, color=colour, label="0", **style)
            written.append(name if len(name) < 24 else f"{name[:23]}…")
        legend = figure.legend(loc="outside right upper", fontsize=9, frameon=False)
        for text, words in zip(legend.get_texts(), written):  # a label that begins with _ would be left out
            text.set(text=words, **PLAIN)
    first, second = (f"component {i}, {100 * share:.0f} % of the variance" for i, share in enumerate(shares, start=1))
    axes.set(xlabel=first, ylabel=second, xticks=[], yticks=[])
    axes.set_title(title, fontsize=11, **PLAIN)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
