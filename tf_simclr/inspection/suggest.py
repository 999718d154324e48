"""Settings that fit a data set and this machine; speed is measured on real training steps, not guessed."""

import dataclasses
import os
import pathlib
import time

import numpy as np
import tensorflow as tf

from tf_simclr.config import PretrainConfig
from tf_simclr.planning.cost import network_cost
from tf_simclr.stages import setup
from tf_simclr.training.fit import prepare
from tf_simclr.training.models import ContrastiveModel

SIZES = (64, 96, 128, 160, 192, 224)  # for images larger than the first; smaller ones keep their own size
ENOUGH_EPOCHS = 25  # of an hour; where the processor is too slow for them, smaller images are suggested
MOST_EPOCHS = 800
_LARGEST_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """Settings, and what they rest on.

    Attributes:
      image_size: pixels.
      stem: first layers of our ResNet; auto where another backbone was asked for.
      batch_size: images.
      epochs: as many as an hour takes, at most 800.
      images_per_second: of whole training steps on this machine, decoding and views included.
      bytes_per_image: estimate of what a training step keeps in memory for one image.
      memory: bytes free on this machine; None where it trains on an accelerator, whose memory is not known.
    """

    image_size: int
    stem: str
    batch_size: int
    epochs: int
    images_per_second: float
    bytes_per_image: int
    memory: object


def suggest(source, config):
    """Chooses what the settings leave open; what they give is kept.

    Args:
      source: the training `Source`.
      config: a `Config` of pretraining.

    Returns:
      `Suggestion`.
    """
    size, fixed = config.model.image_size or usual_size(source.size), config.model.image_size or accelerated()
    # A processor that is too slow for many pixels is timed on few first.
    first = size if fixed else min(size, SIZES[0])
    speed, needed, spec = measure(source, first, config)
    if first < size:
        most = first * (3600 * speed / len(source) / ENOUGH_EPOCHS) ** 0.5
        fitting = max((other for other in SIZES if other <= min(size, most)), default=first)
        if fitting > first:
            speed, needed, spec = measure(source, fitting, config)
    memory = None if accelerated() else free_memory()
    batch = config.pretrain.batch_size
    if batch == PretrainConfig.batch_size:
        most = min(_LARGEST_BATCH, len(source), _LARGEST_BATCH if memory is None else memory // 2 // needed)
        batch = 2 ** int(np.log2(max(2, most)))
    epochs = int(np.clip(3600 * speed / len(source), 1, MOST_EPOCHS))
    return Suggestion(spec.image_size, spec.stem, batch, epochs, speed, needed, memory)


def accelerated():
    """Whether this machine trains on an accelerator."""
    return bool(tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("TPU"))


def usual_size(size):
    """The network's input for images of that median shorter side: the largest usual size that they have."""
    return size if size < SIZES[0] else max(usual for usual in SIZES if usual <= size)


def measure(source, size, config, least_seconds=2.0):
    """Pretrains a few steps on real views, at a small batch.

    Returns:
      (images per second, bytes that a step keeps for an image, the resolved `ModelConfig`).
    """
    spec = setup.resolve(dataclasses.replace(config.model, image_size=size), source)
    batch = min(16, len(source))  # small and few, as large images on a processor take seconds each
    fit = dataclasses.replace(config.pretrain, batch_size=batch, optimizer="adamw")
    model = ContrastiveModel(setup.build_network(spec, spec.head_layers, 0, config.seed, config.precision), fit.temperature)
    prepare(model, fit, 1000, config)
    batches = iter(setup.batches_of(source.without_labels(), spec, fit, config, view_count=2)(start=0, stop=1_000_000))
    step = tf.function(model.train_step, jit_compile=config.jit)
    step(next(batches))  # is traced
    start, steps = time.perf_counter(), 0
    while steps < 2 or time.perf_counter() - start < least_seconds:
        step(next(batches))
        steps += 1
    return steps * batch / (time.perf_counter() - start), step_bytes(spec), spec


def step_bytes(spec):
    """Estimate of the bytes that a training step keeps for one image: what all layers put out for two views, in float32."""
    return 2 * network_cost(spec, spec.head_layers).step_bytes()


def free_memory():
    """Bytes that this process may still take, by the operating system or by its container's limit."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit, used = (pathlib.Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no container, or none with a limit
        return free
