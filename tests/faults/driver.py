"""tf-simclr with accidents: dies or fails at a chosen point, and logs where it is. Run by tests in a process of its own.

The network is the first group of a ResNet-10. CRASH=point:n kills the process (SIGKILL) when it passes the point for the n-th time.
Points: step, write, written, sync, replace, replaced, remove, finish, score, export; with `stage/` before it, those since that
stage's run was opened. CRASH=nan_loss:step and nan_gradient:step spoil a step; eio:n lets the first n writes of a checkpoint fail.

The file STEP_LOG gets a line `stage step` after every update, and a line `score` or `export` when that begins.
"""

import collections
import os
import shutil
import signal
import sys

import tf_simclr.cli

STAGE, _, ACCIDENT = os.environ["CRASH"].rpartition("/")
KIND, _, NUMBER = ACCIDENT.partition(":")
passed = collections.Counter()
stage = ""


def enter(run):
    """Counts anew for the run of another stage."""
    global stage
    stage = run.path.name
    if STAGE:
        passed.clear()


def point(name):
    if name in ("score", "export"):
        log(name)
    if STAGE not in ("", stage):
        return
    passed[name] += 1
    if name == KIND and passed[name] == int(NUMBER):
        os.kill(os.getpid(), signal.SIGKILL)


def log(line):
    if os.environ["STEP_LOG"]:
        with open(os.environ["STEP_LOG"], "a") as file:
            file.write(f"{line}\n")


def around(owner, name, before=None, after=None):
    real = getattr(owner, name)

    def wrapped(*args, **kwargs):
        if before:
            point(before)
        result = real(*args, **kwargs)
        if after:
            point(after)
        return result

    setattr(owner, name, wrapped)


def arm():
    import tensorflow as tf

    from tf_simclr.export import saved_model
    from tf_simclr.models import resnet
    from tf_simclr.run_directory import RunDirectory
    from tf_simclr.stages import evaluate
    from tf_simclr.training import callbacks, models

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})  # saves a fifth of a stage's time
    resnet.LAYOUTS[10] = (resnet.LAYOUTS[10][0], (1,))  # the first group alone: a fifth of the time to trace
    around(tf.train.Checkpoint, "write", before="write", after="written")
    around(os, "fsync", before="sync")
    around(os, "replace", before="replace", after="replaced")
    around(shutil, "rmtree", before="remove")
    around(RunDirectory, "finish", before="finish")
    real = RunDirectory.start
    RunDirectory.start = lambda self, *args: (enter(self), real(self, *args))[1]
    around(evaluate, "score_network", before="score")
    around(saved_model.tf.saved_model, "save", before="export")
    if KIND == "eio":
        fail_writes(tf, int(NUMBER))
    if KIND.startswith("nan"):
        spoil(models.ContrastiveModel, tf)
    log_steps(callbacks.SaveEvery)


def fail_writes(tf, times):
    real = tf.train.Checkpoint.write

    def write(*args, **kwargs):
        passed["eio"] += 1
        if passed["eio"] <= times:
            raise OSError(5, "Input/output error")
        return real(*args, **kwargs)

    tf.train.Checkpoint.write = write


def spoil(model, tf):
    real = model.objective

    @tf.custom_gradient
    def spoilt_backwards(x, bad):
        return tf.identity(x), lambda upstream: (upstream * bad, None)

    def objective(self, batch):
        scalars = real(self, batch)
        bad = tf.where(self.optimizer.iterations + 1 == int(NUMBER), float("nan"), 1.0)
        scalars["loss"] = scalars["loss"] * bad if KIND == "nan_loss" else spoilt_backwards(scalars["loss"], bad)
        return scalars

    model.objective = objective


def log_steps(callback):
    """Logs every update before anything is saved of it."""
    real = callback.on_train_batch_end

    def on_train_batch_end(self, batch, logs=None):
        point("step")
        log(f"{self._checkpoints._directory.parent.name} {int(self.model.optimizer.iterations.numpy())}")
        real(self, batch, logs)

    callback.on_train_batch_end = on_train_batch_end


if __name__ == "__main__":
    tf_simclr.cli.prepare()
    arm()
    sys.exit(tf_simclr.cli.main(sys.argv[1:]))
