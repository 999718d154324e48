"""A run small enough to be killed twenty times: 64 images of 32 px, three stages of 12 steps, a checkpoint every 3."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf
import tiny

HERE = pathlib.Path(__file__).parent
STEPS, EVERY, BATCH = 12, 3, 16
STAGES = ("pretrain", "finetune_1", "self_distill_1")


def write_data(directory):
    """Training and evaluation images as npz files."""
    for name, count, seed in (("train.npz", 64, 0), ("eval.npz", 30, 1)):
        tiny.write_npz(directory / name, *tiny.images(count, seed, size=32))


def flags(data, run_dir, stage="pipeline", **changes):
    """Arguments of the command line, a list."""
    given = {
        "stage": stage,
        "run_dir": run_dir,
        "dataset": "npz",
        "data_dir": data / "train.npz",
        "eval_data_dir": data / "eval.npz",
        "labels_per_class": 8,
        "depth": 10,
        "width": 0.5,
        "stem": "cifar2",
        "head_dim": 16,
        "checkpoint_every": EVERY,
        "optimizer": "adamw",
        "lr_scaling": "none",
        "learning_rate": 0.01,
        "batch_size": BATCH,
        "steps": STEPS,
        "flip": 0,
    }
    if stage == "pretrain":
        given["probe_every"] = 0
    if stage == "pipeline":
        given |= {"methods": "finetune,self_distill", "pretrain_probe_every": 0}
    return [f"--{name}={value}" for name, value in (given | changes).items() if value is not None]


def command(arguments, crash=None, log=None, script="driver.py"):
    """The command line in a process of its own: (argument list, environment) for `subprocess`."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    environment |= {"CRASH": crash or "", "STEP_LOG": str(log or "")}
    return [sys.executable, str(HERE / script), *arguments], environment


def run(arguments, crash=None, log=None, timeout=300):
    """Runs the command to its end, whatever that is: a `subprocess.CompletedProcess` with text."""
    line, environment = command(arguments, crash, log)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=timeout)


def start(arguments, log=None):
    """Starts the command: a `subprocess.Popen`."""
    line, environment = command(arguments, None, log)
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def logged(log):
    """What `driver` logged so far: a list of lines."""
    return pathlib.Path(log).read_text().splitlines() if pathlib.Path(log).exists() else []


def updates(log):
    """The updates among them: a list of (stage, step)."""
    return [(stage, int(step)) for stage, _, step in (line.partition(" ") for line in logged(log)) if step]


def committed(run_dir):
    """The steps of the checkpoints that a run can be continued from, newest last."""
    return sorted(int(path.parent.name[5:]) for path in pathlib.Path(run_dir).glob("checkpoints/step-*/manifest.json"))


def state(run_dir):
    """Every tensor of a run's newest checkpoint: weights, moving statistics, optimizer slots, step."""
    reader = tf.train.load_checkpoint(f"{run_dir}/checkpoints/step-{committed(run_dir)[-1]:08d}/state")
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key != "_CHECKPOINTABLE_OBJECT_GRAPH"}


def served(export, data):
    """What an export answers to the evaluation images."""
    pixels = np.load(data / "eval.npz")["images"][..., None].astype(np.float32) / 255
    answer = tf.saved_model.load(str(export)).signatures["serving_default"](images=tf.constant(pixels))
    return {name: value.numpy() for name, value in answer.items()}


def assert_same(first, second):
    """Two dicts of arrays, equal bit for bit."""
    assert set(first) == set(second)
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)
