"""Writes a run's network as a SavedModel that works without this package."""

import functools
import pathlib

from absl import logging

from tf_simclr import durable, lock, shipped
from tf_simclr.errors import UsageError
from tf_simclr.export.card import describe
from tf_simclr.export.reading import Limits
from tf_simclr.export.saved_model import export_network, usage_line
from tf_simclr.export.tflite import choose_images, forget_report, format_rows, is_reported, need_classifier, report_tflite, write_tflite
from tf_simclr.run_directory import make_directory
from tf_simclr.stages import setup


def run(config, data=None):
    """Exports the run that `--from` names, into its `export/` or into `--run_dir`. Images are needed for `--tflite` alone.

    Returns:
      dict: directory, sha256 (of its manifest).
    """
    parent = setup.required_parent(config, ("pretrain", "finetune", "linear_eval", "distill"))
    directory = config.run_dir or str(parent.export)
    make_directory(pathlib.Path(directory).parent)
    if not config.run_dir:
        if config.from_run.startswith(shipped.PREFIX):
            raise UsageError(f"--stage=export needs --run_dir for a run that ships with the package, {config.from_run}, got none")
        lock.acquire(parent.path)
    network, kinds, write_more = setup.load_finished(parent, config), config.tflite_kinds, None
    if kinds:
        need_classifier(network)
        lock.acquire(parent.path)  # its report gets a part
        data = setup.find_data(setup.with_data_of(config, parent, data), data, parent)
        calibration, scored = choose_images(data, network.spec, config.seed)
        if scored.labels is not None:
            setup.check_classes(scored, parent)
        write_more = functools.partial(write_tflite, network, calibration, kinds)
    stale = is_reported(directory, parent.report)  # once these files are replaced
    limits = Limits(config.max_batch, config.data.max_pixels, config.data.max_bytes)
    export_network(network, parent.facts()["class_names"], directory, limits, describe(parent, config), write_more)
    if kinds:
        rows = report_tflite(network, scored, kinds, directory, parent.report)
        logging.info("TFLite files scored on %d images, report in %s:\n%s", len(scored), parent.report, format_rows(rows))
    elif stale:
        forget_report(parent.report)
    digest = durable.sha256(f"{directory}/{durable.MANIFEST}")
    logging.info("exported to %s (manifest's SHA-256 %s); to classify an image:\n%s", directory, digest, usage_line(directory))
    return {"directory": directory, "sha256": digest}
