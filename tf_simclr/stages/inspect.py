"""Looks at a data set before anyone trains, and says what to run next."""

import pathlib

from tf_simclr import durable
from tf_simclr.config import replace
from tf_simclr.data.holdout import hold_out
from tf_simclr.data.storage import printable
from tf_simclr.errors import UsageError
from tf_simclr.inspection.report import commands, describe
from tf_simclr.inspection.sheet import images_sheet
from tf_simclr.inspection.suggest import suggest
from tf_simclr.inspection.summary import summarise
from tf_simclr.run_directory import make_directory, write_quarantine
from tf_simclr.stages import setup
from tf_simclr.stages.preview import draw_views


def run(config, data=None):
    """Prints what a data set holds and which settings fit it and this machine; a few training steps are timed for that.

    Bad files and images in two sets, which stop a training, are only reported. Into `--run_dir` (runs/DATASET/inspect) go
    inspection.json (the result), inspection.txt (what is printed), images.png, views.png and, where there are bad files, quarantine.csv.

    Returns:
      dict: summary (see `inspection.summary.summarise`), suggestion (see `inspection.suggest.Suggestion`), commands (shell lines).
    """
    config = setup.with_data_of(config, None, data)
    directory = pathlib.Path(config.run_dir or setup.default_home(config))
    tolerant = replace(config, data__max_bad_fraction=1.0, data__allow_overlap=True)
    data = setup.find_data(tolerant, data)
    make_directory(directory)
    if data.bad:
        write_quarantine(directory, data.bad)
    images_sheet(data.train, config.model.background).savefig(directory / "images.png", dpi=100)
    training, obstacle = held_out(data, config)
    suggestion = suggest(training, config)
    draw_views(replace(config, model__image_size=suggestion.image_size), data.train, directory)
    summary = summarise(data)
    lines = commands(training, suggestion, config, holdout=training is not data.train)
    text = [printable(line) for line in describe(summary, suggestion, config, directory, training, lines, obstacle)]
    result = {"summary": summary, "suggestion": vars(suggestion), "commands": lines}
    durable.write_json(directory / "inspection.json", result)
    durable.write_text(directory / "inspection.txt", "\n".join(text) + "\n")
    print("\n".join(text))
    return result


def held_out(data, config):
    """(the images that are trained on, why not all of the next stages will start or ""): without evaluation images some are held out."""
    if data.train.labels is None or data.evaluation is not None:
        return data.train, ""
    try:
        return hold_out(data.train, config.data.holdout_fraction).train, ""
    except UsageError as error:
        return data.train, str(error)
