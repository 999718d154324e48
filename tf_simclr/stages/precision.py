"""Which precision a run computes in where the settings leave that to the machine."""

import pathlib

import tensorflow as tf
from absl import logging

from tf_simclr.config import replace
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import replicas

_CPU_INFO = pathlib.Path("/proc/cpuinfo")
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}  # of x86, by which oneDNN, TensorFlow's library for CPUs, multiplies bfloat16
_COMPUTE_CAPABILITY = (8, 0)  # of GPUs from Ampere on
_COMPUTING = ("pretrain", "finetune", "distill", "pipeline", "inspect", "plan")  # stages that train, time a training, or plan one
_BFLOAT16 = "mixed_bfloat16"


def resolved(config):
    """The settings with a precision: for `auto` mixed_bfloat16 where this machine multiplies bfloat16 in hardware, else float32.

    What is recorded is the precision that came of it, and a run that goes on, perhaps on another machine, keeps it. A plan is for
    accelerators, which all have bfloat16, unless it measures here. Stages that compute in float32 alone are left as they are.

    Raises:
      UsageError: `auto` with many workers, whose machines may differ.
    """
    if config.precision != "auto" or config.stage not in _COMPUTING:
        return config
    if replicas.are_many(config):
        raise UsageError("precision auto is that of one machine, got many workers; give --precision=mixed_bfloat16, or float32")
    known = _recorded(config) or (config.stage == "plan" and not config.measure and _BFLOAT16)
    precision = known or (_BFLOAT16 if _has_bfloat16(config) else "float32")
    logging.info("--precision=auto is %s here", precision)
    return replace(config, precision=precision)


def _recorded(config):
    """The precision of the run that the directory holds, or None."""
    run = RunDirectory(config.run_dir) if config.run_dir else None
    if run is None or not (run.path / "config.json").exists():
        return None
    before = run.config()
    return before.precision if before.stage == config.stage else None


def _has_bfloat16(config):
    if config.on_tpu:
        return True
    if gpus := tf.config.list_physical_devices("GPU"):
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(found.get("compute_capability", (0, 0)) >= _COMPUTE_CAPABILITY for found in details)
    try:
        return bool(_CPU_FLAGS & set(_CPU_INFO.read_text().split()))
    except OSError:  # not Linux
        return False
