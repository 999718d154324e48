"""The scores of one classifier as JSON, Markdown and a picture."""

import json
import pathlib
import re

from matplotlib.backends.backend_agg import FigureCanvasAgg

from tf_simclr.evaluation.picture import draw

WORST_CONFUSIONS = 10
_WIDEST = 30  # classes of a confusion matrix that is still read as a table; the JSON and the picture have any


def write_report(directory, scores, title):
    """Writes evaluation.json (the scores), evaluation.md and evaluation.png.

    Args:
      directory: where to; made when it is missing.
      scores: what `metrics.score` returns; further keys, such as split, stand in the JSON alone.
      title: heading of the Markdown and the picture.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # One key a line: a confusion matrix of a thousand classes would otherwise be a million lines.
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in scores.items()]
    title = " ".join(title.split())  # a path may hold line breaks
    (directory / "evaluation.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    (directory / "evaluation.md").write_text(_markdown(scores, title), encoding="utf-8")
    FigureCanvasAgg(draw(scores, title)).print_png(directory / "evaluation.png")  # `savefig` would draw it twice, once for its layout


def _markdown(scores, title):
    percent = [("Top-1 accuracy", "top1"), ("Top-5 accuracy", "top5"), ("Balanced accuracy", "balanced_accuracy")]
    percent.append(("Expected calibration error", "ece"))
    text = [f"# {plain(title)}", "", f"{scores['images']:,} images, {len(scores['per_class']):,} classes.", ""]
    text += table(["score", "%"], [[name, f"{100 * scores[key]:.2f}"] for name, key in percent if key in scores])
    text += table(
        ["class", "images", "accuracy (%)"],
        [[c["name"], f"{c['images']:,}", "" if c["accuracy"] is None else f"{100 * c['accuracy']:.1f}"] for c in scores["per_class"]],
    )
    if confused := _most_confused(scores):
        text += ["Most frequent confusions:", ""] + table(["true class", "predicted as", "images"], confused)
    if len(scores["per_class"]) <= _WIDEST:
        names, rows = [c["name"] for c in scores["per_class"]], scores["confusion"]
        text += ["Confusion matrix, images of the class of a row that were taken for the class of a column:", ""]
        text += table(["", *names], [[name, *(f"{n:,}" for n in row)] for name, row in zip(names, rows)])
    return "\n".join(text)


def table(header, rows):
    """Lines of a Markdown table, the first column to the left, and an empty line; header and rows are lists of text."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return ["| " + " | ".join(map(plain, line)) + " |" for line in lines] + [""]


def plain(text):
    """Text whose characters mean nothing in Markdown. An underscore between letters, where most names have it, means nothing there."""
    return re.sub(r"[\\`*<>\[\]|$&~]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def _most_confused(scores):
    names = [c["name"] for c in scores["per_class"]]
    pairs = [(n, i, j) for i, row in enumerate(scores["confusion"]) for j, n in enumerate(row) if n and i != j]
    pairs.sort(key=lambda pair: -pair[0])
    return [[names[i], names[j], f"{n:,}"] for n, i, j in pairs[:WORST_CONFUSIONS]]
