"""A picture of the views that pretraining will see."""

import pathlib

from absl import logging

from tf_simclr.inspection.sheet import views_sheet
from tf_simclr.run_directory import make_directory
from tf_simclr.stages import setup


def run(config, data=None):
    """Draws some images with their views by the settings of pretraining, into views.png of `--run_dir` (runs/DATASET/preview).

    Returns:
      dict: picture, its path.
    """
    config = setup.with_data_of(config, None, data)
    data = setup.find_data(config, data)
    directory = pathlib.Path(config.run_dir or setup.default_home(config))
    make_directory(directory)
    path = draw_views(config, data.train, directory)
    logging.info("views in %s", path)
    return {"picture": str(path)}


def draw_views(config, source, directory):
    """Writes views.png and returns its path."""
    path = directory / "views.png"
    views_sheet(source, setup.resolve(config.model, source), config.pretrain, config).savefig(path, dpi=100)
    return path
