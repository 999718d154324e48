"""What a training run tells while it runs."""

import json
import math
import time

import tensorflow as tf
from absl import logging

from tf_simclr import durable, interruption
from tf_simclr.run_directory import last_metrics


class Throughput(tf.keras.callbacks.Callback):
    """Adds images/s, the share of time spent waiting for input and the minutes left of the training to the epoch's logs.

    Args:
      batch_size: images per step over all replicas.
      total: steps of the whole training.
    """

    def __init__(self, batch_size, total):
        super().__init__()
        self._batch_size, self._total = batch_size, total

    def on_epoch_begin(self, epoch, logs=None):
        self._steps, self._begin = 0, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        # The first execution traces the graph: it is left out of the clock. `batch` is the number of the last step of an execution.
        if self._steps == 0:
            self._start, self._untimed = time.perf_counter(), batch + 1
        self._steps = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self._start
        timed = self._steps - self._untimed
        wait = logs.pop("wait", None)
        left = self._total - int(self.model.optimizer.iterations.numpy())
        logs["minutes_left"] = left / self._steps * (time.perf_counter() - self._begin) / 60.0
        if timed > 0:
            logs["images_per_second"] = timed * self._batch_size / seconds
            if wait is not None:
                logs["input_wait"] = min(1.0, wait * timed / seconds)


class Probe(tf.keras.callbacks.Callback):
    """Adds what `measure()` returns, a dict of floats, every so many epochs and after the last one."""

    def __init__(self, measure, every, last):
        super().__init__()
        self._measure, self._every, self._last = measure, every, last

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self._last or (epoch + 1) % self._every == 0:
            scores = self._measure()
            logs.update(scores)
            logging.info("epoch %d: %s", epoch + 1, ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))


class MetricLines(tf.keras.callbacks.Callback):
    """Appends one JSON line per epoch: epoch, step, seconds of training, and the logs.

    The seconds are those of all processes that worked on the run, each up to its last line. Lines past the step a run resumes from, and
    half a line that a crash left, are dropped first: every epoch stands there once.
    """

    def __init__(self, path, first_step):
        super().__init__()
        self._path, self._start = path, time.perf_counter() - last_metrics(path).get("seconds", 0.0)
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if _step_of(line) <= first_step]
            durable.attempt(lambda: durable.write_text(path, "".join(line + "\n" for line in lines)), path.name)

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "step": int(self.model.optimizer.iterations.numpy()), "seconds": time.perf_counter() - self._start}
        row.update({key: float(value) for key, value in logs.items()})
        line, before = json.dumps(row) + "\n", self._path.stat().st_size if self._path.exists() else 0

        def append():
            with self._path.open("a") as file:
                file.truncate(before)  # what an attempt before this one left
                file.write(line)

        durable.attempt(append, self._path.name)


def _step_of(line):
    """The step that a line of metrics.jsonl belongs to; infinite for half a line."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return math.inf


class LossIsNaN(Exception):
    """A step returned NaN as its loss."""


class StopAtNaN(tf.keras.callbacks.Callback):
    """Raises LossIsNaN where a step could not say by itself that it met NaN or infinity, before anything of it is saved."""

    def on_train_batch_end(self, batch, logs=None):
        if math.isnan(float(logs["loss"])):
            raise LossIsNaN


class SaveEvery(tf.keras.callbacks.Callback):
    """Saves a checkpoint every so many steps and at the end of training; a signal waits for the end of the step it comes in.

    After the last step of an epoch it waits for the epoch's metrics.

    It must be the last of the callbacks.

    Args:
      checkpoints: the run's `Checkpoints`.
      every: steps between checkpoints.
      step: updates made so far.
    """

    def __init__(self, checkpoints, every, step):
        super().__init__()
        self._checkpoints, self._every = checkpoints, every
        self.step, self._loss, self._due = step, None, False

    def on_train_batch_begin(self, batch, logs=None):
        interruption.defer()

    def on_train_batch_end(self, batch, logs=None):
        before, self.step = self.step, int(self.model.optimizer.iterations.numpy())
        self._loss = float(logs["loss"])
        self._due = self._due or self.step // self._every > before // self._every
        if self._due and batch + 1 < self.params["steps"]:
            self.save()
        if batch + 1 < self.params["steps"]:
            interruption.heed()

    def on_epoch_end(self, epoch, logs=None):
        # After the last step of an epoch its metrics are written first: what came between the two would lose them for good.
        if self._due:
            self.save()
        interruption.heed()

    def on_train_end(self, logs=None):
        self.save()

    def save(self):
        """Saves the state after the last whole step, unless it is saved already."""
        self._due = False
        self._checkpoints.save(self.step, self._loss)
