"""The picture of an evaluation: confusion matrix, accuracy by class, reliability diagram."""

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

NUMBERS_UP_TO = 20  # classes whose confusions are written into the cells
CELLS_UP_TO = 200  # classes that have a cell each; more are pooled
NAMES_UP_TO = 50  # classes that are named beside the matrix and have a bar each
BLUE, GREY = "#4477aa", "#bbbbbb"
PLAIN = {"parse_math": False}  # names and paths are text, also between two dollars, where matplotlib would read a formula


def draw(scores, title):
    """A matplotlib `Figure` of what `metrics.score` returns; it belongs to no global state. Readable for 2 to 1,000 classes."""
    figure = Figure(figsize=(13.5, 7.0), dpi=120, layout="constrained")
    figure.suptitle(f"{title}\n{_headline(scores)}", fontsize=12, **PLAIN)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.35, 1.0])
    _confusion(figure, figure.add_subplot(grid[:, 0]), scores)
    _by_class(figure.add_subplot(grid[0, 1]), scores["per_class"])
    _reliability(figure.add_subplot(grid[1, 1]), scores)
    return figure


def _headline(scores):
    named = [("top-1", "top1"), ("top-5", "top5"), ("balanced", "balanced_accuracy"), ("calibration error", "ece")]
    parts = [f"{name} {100 * scores[key]:.1f} %" for name, key in named if key in scores]
    return "   ".join([*parts, f"{scores['images']:,} images"])


def _short(name, longest=18):
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _confusion(figure, axes, scores):
    counts = np.array(scores["confusion"])
    classes, title = len(counts), "confusion matrix (shares of the true class)"
    if classes > CELLS_UP_TO:
        # A single class would be thinner than a pixel.
        pool = -(-classes // 100)
        starts = range(0, classes, pool)
        counts = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1)
        title = f"confusion matrix (shares; {pool} neighbouring classes pooled)"
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # Among many classes a confusion is a small share: the root makes it visible.
    norm = PowerNorm(0.5 if classes > NUMBERS_UP_TO else 1.0, 0, 1)
    image = axes.imshow(share, cmap="Blues", norm=norm, interpolation="nearest", extent=(-0.5, classes - 0.5, classes - 0.5, -0.5))
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    if classes <= NAMES_UP_TO:
        names = [_short(c["name"]) for c in scores["per_class"]]
        size = 9 if classes <= NUMBERS_UP_TO else 6
        axes.set_xticks(range(classes), names, rotation=90 if classes > NUMBERS_UP_TO else 45, fontsize=size, **PLAIN)
        if classes <= NUMBERS_UP_TO:
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names, fontsize=size, **PLAIN)
    if classes <= NUMBERS_UP_TO:
        for (i, j), n in np.ndenumerate(counts):
            if n:
                axes.text(j, i, n, ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.5 else "black")


def _by_class(axes, per_class):
    """A bar for each class, worst last; of many classes the sorted curve, which shows how many are how bad."""
    scored = sorted((c for c in per_class if c["accuracy"] is not None), key=lambda c: -c["accuracy"])
    accuracies = [100 * c["accuracy"] for c in scored]
    if len(scored) <= NAMES_UP_TO:
        axes.bar(range(len(scored)), accuracies, color=BLUE)
        few = len(scored) <= NUMBERS_UP_TO
        names = [_short(c["name"]) for c in scored]
        axes.set_xticks(range(len(scored)), names, rotation=45 if few else 90, fontsize=8 if few else 6, **PLAIN)
        for label in axes.get_xticklabels() if few else ():
            label.set(ha="right", rotation_mode="anchor")
        for i, accuracy in enumerate(accuracies if few else ()):
            axes.text(i, accuracy + 1, f"{accuracy:.0f}", ha="center", va="bottom", fontsize=8, bbox={"color": "white", "pad": 0.5})
    else:
        axes.fill_between(range(len(scored)), accuracies, color=BLUE, alpha=0.6, linewidth=0)
        axes.set_xlabel(f"{len(scored):,} classes, best to worst")
        axes.set_xlim(0, len(scored) - 1)
    axes.axhline(np.mean(accuracies), color="black", linewidth=1, linestyle="--")
    axes.set(ylim=(0, 110), yticks=range(0, 101, 20), ylabel="accuracy (%)", title="accuracy by class (dashed: mean)")
    axes.spines[["top", "right"]].set_visible(False)


def _reliability(axes, scores):
    bins = [b for b in scores["reliability"] if b["images"]]
    width = scores["reliability"][0]["high"]
    axes.bar([b["low"] + width / 2 for b in bins], [b["accuracy"] for b in bins], width * 0.92, color=BLUE, label="accuracy")
    most = max(b["images"] for b in bins)
    # How full the bins are, or the eye would weigh a bin of two images like one of a thousand.
    share = [0.25 * b["images"] / most for b in bins]
    axes.bar([b["low"] + width / 2 for b in bins], share, width * 0.3, color=GREY, label=f"images (highest bar: {most:,})")
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--", label="perfectly calibrated")
    title = f"reliability (calibration error {100 * scores['ece']:.1f} %)"
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy", title=title)
    axes.legend(fontsize=8, loc="best", framealpha=0.9)
    axes.spines[["top", "right"]].set_visible(False)
