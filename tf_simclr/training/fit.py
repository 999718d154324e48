"""Drives Keras' fit over steps counted from the start of the run, so that a resumed run goes on where it stopped."""

import dataclasses
import math

import tensorflow as tf

from tf_simclr.data.pipeline import with_wait
from tf_simclr.optimizers.build import build
from tf_simclr.training import callbacks as told
from tf_simclr.training.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class Duration:
    """Length of a training: `total` steps; an epoch, the unit of reports, is `per_epoch` of them."""

    total: int
    per_epoch: int

    @classmethod
    def of(cls, fit, examples):
        """From a `FitConfig` and the number of images: its steps if given, else its epochs; an epoch is at least one step.

        Short epochs (few labels) are reported together, at least twenty steps at a time, since a report costs as much as a step or two.
        """
        per_epoch = max(1, examples // fit.batch_size)
        total = fit.steps or max(1, round(fit.epochs * examples / fit.batch_size))
        return cls(total, min(total, per_epoch * math.ceil(20 / per_epoch)))

    @property
    def epochs(self):
        """Number of reports."""
        return math.ceil(self.total / self.per_epoch)


def train(model, fit, duration, make_batches, run, config, extra_callbacks=()):
    """Trains a `Trainer` to the end of its duration, from the newest checkpoint of the run if there is one.

    Args:
      model: the `Trainer`; built and, where there is one, under its strategy's scope.
      fit: the `FitConfig`.
      duration: a `Duration`.
      make_batches: `make_batches(start, stop) -> tf.data.Dataset` of batches for those steps.
      run: the `RunDirectory`.
      config: the `Config`, for checkpoint intervals.
      extra_callbacks: further Keras callbacks; they run before the metrics are written.

    Returns:
      dict of floats, the metrics of the last report; empty when there was nothing left to train.
    """
    strategy = tf.distribute.get_strategy()
    optimizer = build(model.network, fit, duration.total)
    optimizer.build(model.network.trainable_variables)
    model.compile(optimizer=optimizer)
    checkpoints = Checkpoints(run.checkpoints, model.network, optimizer, config.keep_checkpoints)
    start = checkpoints.restore()
    callbacks = [
        told.Throughput(fit.batch_size),
        *extra_callbacks,
        told.SaveEvery(checkpoints, config.checkpoint_every),
        told.MetricLines(run.metrics, start),
        tf.keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False),
    ]
    metrics = {}
    while start < duration.total:
        # A run that stopped inside an epoch ends that epoch first.
        epoch, inside = divmod(start, duration.per_epoch)
        whole = (duration.total - start) // duration.per_epoch if inside == 0 else 0
        steps = duration.per_epoch if whole else min(duration.per_epoch - inside, duration.total - start)
        stop = start + steps * max(1, whole)
        batches = with_wait(make_batches(start, stop), fit.batch_size)
        history = model.fit(
            strategy.experimental_distribute_dataset(batches) if strategy.num_replicas_in_sync > 1 else batches.repeat(),
            initial_epoch=epoch,
            epochs=epoch + max(1, whole),
            steps_per_epoch=steps,
            callbacks=callbacks,
            verbose=1,
        )
        metrics = {name: float(values[-1]) for name, values in history.history.items()}
        start = stop
    return metrics
