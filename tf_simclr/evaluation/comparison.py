"""Methods against each other: one row each, as JSON, Markdown, a bar chart and text for the terminal."""

import json
import pathlib
import statistics

from matplotlib.figure import Figure

HEADER = ("method", "labels", "parameters", "test accuracy (%)", "seconds")


def summarise(method, labels, parameters, by_seed, seconds):
    """One row of the comparison.

    Args:
      method: name.
      labels: number of labelled images that the method used.
      parameters: number of parameters of its network.
      by_seed: dict from label seed to accuracy in percent, at least one.
      seconds: what it took, over all seeds.

    Returns:
      dict of method, labels, parameters, accuracy (mean, percent), std (sample standard deviation, points; 0.0 for one seed),
      by_seed (keys as text, as JSON has them) and seconds.
    """
    accuracies = [float(a) for a in by_seed.values()]
    return {
        "method": method,
        "labels": labels,
        "parameters": parameters,
        "accuracy": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "by_seed": {str(seed): accuracy for seed, accuracy in zip(by_seed, accuracies)},
        "seconds": seconds,
    }


def format_table(rows):
    """The rows (see `summarise`) as aligned text, several lines without a newline at the end."""
    table = [HEADER, *([*_cells(row)] for row in rows)]
    # Means stand under means, whether a spread follows or not.
    longest = max(len(_spread(row)) for row in rows)
    for row, cells in zip(rows, table[1:]):
        cells[3] += " " * (longest - len(_spread(row)))
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
    lines = ["  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))]) for line in table]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def write_comparison(directory, rows):
    """Writes results.json ({"rows": rows}), results.md and results.png.

    Args:
      directory: where to; made when it is missing.
      rows: list of dicts, see `summarise`; at least one.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "results.json").write_text(json.dumps({"rows": rows}, indent=2) + "\n")
    (directory / "results.md").write_text(_markdown(rows))
    _bars(rows).savefig(directory / "results.png", dpi=120)


def _spread(row):
    """' ± 0.4' with at least two seeds, else nothing."""
    return f" ± {row['std']:.1f}" if len(row["by_seed"]) > 1 else ""


def _cells(row):
    accuracy = f"{row['accuracy']:.1f}{_spread(row)}"
    return row["method"], f"{row['labels']:,}", f"{row['parameters']:,}", accuracy, f"{row['seconds']:,.0f}"


def _markdown(rows):
    seeds = list(dict.fromkeys(seed for row in rows for seed in row["by_seed"]))
    lines = [[*HEADER, *(f"seed {seed}" for seed in seeds)], ["---", *["---:"] * (len(HEADER) - 1 + len(seeds))]]
    for row in rows:
        lines.append([*_cells(row), *(f"{row['by_seed'][seed]:.1f}" if seed in row["by_seed"] else "" for seed in seeds)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    legend = "Test accuracy: mean ± sample standard deviation over the label seeds. Seconds: all seeds together."
    return f"# Results\n\n{table}\n\n{legend}\n"


def _bars(rows):
    figure = Figure(figsize=(max(4.0, 1.5 + 1.1 * len(rows)), 4.0), layout="constrained")
    axes = figure.add_subplot()
    heights, spreads = [row["accuracy"] for row in rows], [row["std"] for row in rows]
    errors = [s if len(row["by_seed"]) > 1 else float("nan") for s, row in zip(spreads, rows)]  # NaN: no error bar
    axes.bar(range(len(rows)), heights, color="#4477aa", yerr=errors, capsize=4, width=0.65)
    for i, row in enumerate(rows):
        axes.text(i, row["accuracy"] + row["std"] + 0.3, f"{row['accuracy']:.1f}{_spread(row)}", ha="center", va="bottom", fontsize=9)
    low, high = min(a - s for a, s in zip(heights, spreads)), max(a + s for a, s in zip(heights, spreads))
    # Methods differ by a few points: the axis begins below the worst, and says so.
    floor = max(0.0, low - max(2.0, 0.6 * (high - low)))
    axes.set_ylim(floor, high + max(1.0, 0.15 * (high - floor)))
    axes.set_ylabel("test accuracy (%)" + (f", axis from {floor:.0f}" if floor else ""))
    axes.set_xticks(
        range(len(rows)), [f"{row['method']}\n{row['labels']:,} labels\n{_short(row['parameters'])}" for row in rows], fontsize=9
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _short(parameters):
    """78_000 to '78 k par.'."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g}{name} par."
    return f"{parameters} par."
