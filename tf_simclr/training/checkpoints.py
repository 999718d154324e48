"""Saving and restoring: a run's own training state, and an earlier stage's network."""

import tensorflow as tf
from absl import logging

from tf_simclr.errors import UsageError


class Checkpoints:
    """The newest checkpoints of one run: network, optimizer (slots and step).

    Args:
      directory: where they lie.
      network: the network in training.
      optimizer: its optimizer, built.
      keep: how many to keep.
    """

    def __init__(self, directory, network, optimizer, keep):
        self._checkpoint = tf.train.Checkpoint(network=network, optimizer=optimizer)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(directory), keep, checkpoint_name="step")
        self._saved = None

    def restore(self):
        """Restores the newest one, strictly; returns its step, 0 when there is none."""
        path = self._manager.latest_checkpoint
        if path is None:
            return 0
        self._checkpoint.restore(path).assert_existing_objects_matched()
        self._saved = int(path.rpartition("-")[2])
        logging.info("resuming from step %d", self._saved)
        return self._saved

    def save(self, step):
        """Saves, once per step."""
        if step != self._saved:
            self._manager.save(checkpoint_number=step)
            self._saved = step


def save_network(directory, network):
    """Saves a network that was not trained by steps, for the stages after it."""
    checkpoint = tf.train.Checkpoint(network=network)
    tf.train.CheckpointManager(checkpoint, str(directory), 1, checkpoint_name="step").save(checkpoint_number=0)


def restore_network(directory, network, classifier=True):
    """Restores an earlier stage's network from its newest checkpoint; the optimizer's part of it is left alone.

    Args:
      directory: the earlier run's checkpoint directory.
      network: a built `Network`; it may keep fewer head layers than the saved one.
      classifier: restore the classifier too; a new one has nothing to restore.

    Raises:
      UsageError: there is no checkpoint, or a variable of the network is not in it or has another shape.
    """
    path = tf.train.latest_checkpoint(str(directory))
    if path is None:
        raise UsageError(f"a checkpoint is required in {directory}, found none; run the earlier stage to its end first")
    parts = {"encoder": network.encoder, "head": network.head}
    if classifier and network.classifier is not None:
        parts["classifier"] = network.classifier
    saved = tf.train.Checkpoint(network=tf.train.Checkpoint(**parts))
    try:
        saved.read(path).assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"the network in {path} is not of the architecture required: {reason}; use a run of the same architecture"
        ) from error
    logging.info("restored %s from %s", ", ".join(parts), path)
