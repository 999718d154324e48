"""Looks at a data set before anyone trains, and says what to run next."""

import pathlib

from tf_simclr import durable
from tf_simclr.config import replace
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
    config = setup.with_data_of(config, None)
    tolerant = replace(config, data__max_bad_fraction=1.0, data__allow_overlap=True)
    data = setup.find_data(tolerant, data)
    directory = pathlib.Path(config.run_dir or setup.default_home(config))
    make_directory(directory)
    if data.bad:
        write_quarantine(directory, data.bad)
    images_sheet(data.train, config.model.background).savefig(directory / "images.png", dpi=100)
    suggestion = suggest(data.train, config)
    draw_views(replace(config, model__image_size=suggestion.image_size), data.train, directory)
    summary = summarise(data)
    text = describe(summary, suggestion, config, directory)
    result = {"summary": summary, "suggestion": vars(suggestion), "commands": commands(summary, suggestion, config)}
    durable.write_json(directory / "inspection.json", result)
    durable.write_text(directory / "inspection.txt", "\n".join(text) + "\n")
    print("\n".join(text))
    return result
