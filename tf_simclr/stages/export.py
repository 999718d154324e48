"""Writes a run's network as a SavedModel that works without this package."""

from absl import logging

from tf_simclr import durable, lock, shipped
from tf_simclr.errors import UsageError
from tf_simclr.export.card import describe
from tf_simclr.export.reading import Limits
from tf_simclr.export.saved_model import export_network, usage_line
from tf_simclr.stages import setup


def run(config, data=None):
    """Exports the run that `--from` names, into its `export/` or into `--run_dir`. Images are not needed.

    Returns:
      dict: directory, sha256 (of its manifest).
    """
    parent = setup.required_parent(config, ("pretrain", "finetune", "linear_eval", "distill"))
    directory = config.run_dir or str(parent.export)
    if not config.run_dir:
        if config.from_run.startswith(shipped.PREFIX):
            raise UsageError(f"--stage=export needs --run_dir for a run that ships with the package, {config.from_run}, got none")
        lock.acquire(parent.path)
    limits = Limits(config.max_batch, config.data.max_pixels, config.data.max_bytes)
    export_network(setup.load_network(parent), parent.facts()["class_names"], directory, limits, describe(parent, config))
    digest = durable.sha256(f"{directory}/{durable.MANIFEST}")
    logging.info("exported to %s (manifest's SHA-256 %s); to classify an image:\n%s", directory, digest, usage_line(directory))
    return {"directory": directory, "sha256": digest}
