"""Classifies images, any folder of them, into a table."""

import collections
import csv
import io
import operator

from absl import logging

from tf_simclr import durable
from tf_simclr.errors import UsageError
from tf_simclr.export.reading import OK
from tf_simclr.stages import setup
from tf_simclr.stages.answers import answers, log_end, open_directory, open_images, open_model

FILE = "predictions.csv"
_SHOWN = 20  # classes that are counted in the log


def run(config, data=None):
    """Writes predictions.csv into `--run_dir` (runs/DATASET/predict): path, class, probability, status, a row for every image.

    The rows are in the images' order, that of their sorted paths. A bad image has no class and no probability, and what is wrong with
    it as its status, which otherwise is "ok". The file appears when it is whole. `--from` is a run or an export; labels mean nothing.

    Returns:
      dict: file (its path), images, bad, classes (how many images of each name that occurs, the most frequent first), seconds.
    """
    model = open_model(config)
    if not model.class_names:
        raise UsageError(
            f"--stage=predict needs --from with a classifier, got {config.from_run}, which has none; fine-tune it, or use --stage=embed"
        )
    source, directory = open_images(config, data), open_directory(config, data)
    path, clock = directory / FILE, setup.Clock()
    classes = collections.Counter()
    with durable.replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
        table, quoting = (csv.writer(text, lineterminator="\n", quoting=kind) for kind in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
        table.writerow(["path", "class", "probability", "status"])
        for part in answers(model, source, ["probabilities"], config):
            rows = list(_rows(part, source, model.class_names))
            for row in rows:  # Python leaves a carriage return as it is, which readers take for the end of a line
                (quoting if "\r" in row[0] else table).writerow(row)
            classes.update(map(operator.itemgetter(1), rows))
        text.detach()  # flushes, and leaves the file to its owner
    seconds, bad = clock.seconds(), classes.pop("", 0)
    for name, count in classes.most_common(_SHOWN):
        logging.info("%8s  %s", f"{count:,}", name)
    if len(classes) > _SHOWN:
        logging.info("%8s  others, of %d classes", f"{sum(n for _, n in classes.most_common()[_SHOWN:]):,}", len(classes) - _SHOWN)
    log_end(len(source), bad, seconds, path)
    return {"file": str(path), "images": len(source), "bad": bad, "classes": dict(classes.most_common()), "seconds": seconds}


def _rows(part, source, names):
    """(path, class, probability, status) of `Answers`."""
    probabilities = part.outputs["probabilities"]
    likeliest = zip(probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist(), part.status)
    for number, (index, probability, status) in enumerate(likeliest, start=part.start):
        good = status == OK
        yield source.name(number), names[index] if good else "", f"{probability:.6f}" if good else "", status
