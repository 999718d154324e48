"""Drives Keras' fit over steps counted from the start of the run, so that a resumed run goes on where it stopped."""

import dataclasses
import functools
import math

import tensorflow as tf

from tf_simclr import interruption
from tf_simclr.data.pipeline import Share
from tf_simclr.errors import Interrupted, NotFiniteError
from tf_simclr.optimizers.build import build
from tf_simclr.run_directory import last_metrics
from tf_simclr.silence import hush_compiler
from tf_simclr.training import callbacks as told
from tf_simclr.training.checkpoints import Checkpoints
from tf_simclr.training.models import NOT_FINITE


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


def train(model, fit, duration, make_batches, sources, run, config, extra_callbacks=()):
    """Trains a `Trainer` to the end of its duration, from the newest checkpoint of the run if there is one.

    Args:
      model: the `Trainer`; built and, where there is one, under its strategy's scope.
      fit: the `FitConfig`.
      duration: a `Duration`.
      make_batches: `make_batches(start=…, stop=…, share=…) -> tf.data.Dataset` of this process' parts of the batches for those steps.
      sources: the `Source` of the batches, to name images in messages: a dict from the part of a batch, or from "" without parts.
      run: the `RunDirectory`.
      config: the `Config`, for checkpoint intervals.
      extra_callbacks: further Keras callbacks; they run before the metrics are written.

    Returns:
      dict of floats, the metrics of the last report, by an earlier process where nothing was left to train.

    Raises:
      Interrupted: a signal came; the last whole step is saved, unless there are other workers.
      NotFiniteError: the loss or a gradient was NaN or infinite; nothing of the step that it came in is saved.
      StorageError: a checkpoint could not be written.
      UsageError: the run's checkpoints do not fit, or are all damaged.
    """
    optimizer = prepare(model, fit, duration.total, config)
    facts = {"seed": config.seed, "fingerprint": run.facts()["data"]["fingerprint"]} if run.writes else {}
    checkpoints = Checkpoints(
        run.checkpoints, model.network, optimizer, config.keep_checkpoints, facts, run.writes, run.alone, model.memory
    )
    start = checkpoints.restore()
    saver = told.SaveEvery(checkpoints, config.checkpoint_every, start)
    callbacks = [told.Throughput(fit.batch_size, duration.total), *extra_callbacks]
    if run.writes:
        callbacks += [told.MetricLines(run.metrics, start), tf.keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False)]
    callbacks += [told.StopAtNaN(), saver]
    try:
        if start < duration.total:
            return _fit(model, duration, start, make_batches, callbacks, verbose=int(run.writes))
        return {name: value for name, value in last_metrics(run.metrics).items() if name not in ("epoch", "step", "seconds")}
    except Interrupted as signal:
        interruption.forget()
        where = f"{signal} at step {saver.step} of {duration.total}"
        if not run.alone:  # the others, who know nothing of the signal, would have to save with this one
            raise Interrupted(f"{where}; {run.path} holds the last checkpoint") from None
        saver.save()
        raise Interrupted(f"{where}, saved in {run.path}") from None
    except (tf.errors.InvalidArgumentError, told.LossIsNaN) as error:
        _, known, rest = str(error).partition(NOT_FINITE)
        if not known and not isinstance(error, told.LossIsNaN):
            raise
        what = rest.partition(" : ")[0] or "the loss and its gradients"
        # The optimizer's count of steps may have gone on while the error came up.
        steps = range(saver.step, min(duration.total, saver.step + config.steps_per_execution))
        where = f"step {steps.start + 1}" if len(steps) == 1 else f"one of the steps {steps.start + 1} to {steps.stop}"
        good = "holds the last good checkpoint" if any(run.checkpoints.glob("step-*")) else "has no checkpoint yet"
        raise NotFiniteError(
            f"{what} must be finite, got NaN or infinity in {where}, on {_names(make_batches, steps, sources)}; nothing of it is saved, and"
            f" {run.path} {good}: lower the learning rate, or look at these images"
        ) from error
    finally:
        interruption.forget()


def prepare(model, fit, total_steps, config):
    """Gives a `Trainer` its optimizer and its way of making views, and compiles it.

    Args:
      model: the `Trainer`.
      fit: the `FitConfig`.
      total_steps: length of the schedule.
      config: the `Config`; jit, steps_per_execution.

    Returns:
      The optimizer, built.
    """
    optimizer = build(model.network, fit, total_steps)
    optimizer.build(model.network.trainable_variables)
    model.policy = fit
    if config.jit:
        hush_compiler()
    # A TPU's steps are compiled without being asked.
    model.compile(optimizer, jit_compile=config.jit and not config.on_tpu, steps_per_execution=config.steps_per_execution)
    return optimizer


def _fit(model, duration, start, make_batches, callbacks, verbose):
    """Trains from step `start` to the end; returns the metrics of the last report."""
    strategy = tf.distribute.get_strategy()
    metrics = {}
    while start < duration.total:
        # A run that stopped inside an epoch ends that epoch first.
        epoch, inside = divmod(start, duration.per_epoch)
        whole = (duration.total - start) // duration.per_epoch if inside == 0 else 0
        steps = duration.per_epoch if whole else min(duration.per_epoch - inside, duration.total - start)
        stop = start + steps * max(1, whole)
        history = model.fit(
            distributed(strategy, functools.partial(make_batches, start=start, stop=stop)),
            initial_epoch=epoch,
            epochs=epoch + max(1, whole),
            steps_per_epoch=steps,
            callbacks=callbacks,
            verbose=verbose,
        )
        metrics = {name: float(values[-1]) for name, values in history.history.items()}
        start = stop
    return metrics


def distributed(strategy, make_batches):
    """The batches for every replica, in order: each replica takes its part of the global batch, and no process makes another's.

    Args:
      strategy: the `tf.distribute.Strategy`.
      make_batches: `make_batches(share=…) -> tf.data.Dataset`.

    Returns:
      What Keras' fit takes; endless.
    """
    if strategy.num_replicas_in_sync == 1:
        return make_batches(share=Share()).repeat()

    def mine(context):
        parts = strategy.num_replicas_in_sync
        local = parts // context.num_input_pipelines
        return make_batches(share=Share(parts, context.input_pipeline_id * local, local)).repeat()

    return strategy.distribute_datasets_from_function(mine)


def _names(make_batches, steps, sources, most=8):
    """The first examples of some steps, for a message."""
    names = []
    for batch in make_batches(start=steps.start, stop=steps.stop, share=Share()):
        parts = {"": batch} if "example" in batch else batch
        names += [sources[key].name(int(i)) for key, part in parts.items() for i in part["example"]]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
