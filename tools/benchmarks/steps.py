"""Training steps of pretraining, input excluded: against the machine's matrix products, bfloat16 against float32, and against plain Keras.

A batch of 128 images is 128 images with two views each, so that 256 pass the network. Floating-point operations are those of convolutions
and matrix products, three times those forward.
"""

import pathlib
import statistics

import numpy as np
import tensorflow as tf

from benchmarks.plain import PlainNetwork
from benchmarks.timing import apart, paired, peak_memory, speed
from tf_simclr.config import Config, ModelConfig, PretrainConfig
from tf_simclr.planning.cost import network_cost
from tf_simclr.stages.setup import build_network
from tf_simclr.training.fit import prepare
from tf_simclr.training.models import ContrastiveModel

SECONDS = 10.0  # that a measurement lasts
HEAD = {"head_layers": 3, "head_dim": 128}
RESNET_18 = ModelConfig(depth=18, stem="cifar", image_size=32, channels=3, **HEAD)
RESNET_50_SK = ModelConfig(depth=50, sk=True, stem="imagenet", image_size=224, channels=3, **HEAD)


def our_network(spec, precision="float32"):
    return build_network(spec, spec.head_layers, 0, 0, precision)


def train_step(network, spec, batch_size):
    """A function that makes one step of pretraining, as Keras' fit makes it, on two fixed views of random pixels."""
    fit, random = PretrainConfig(), np.random.default_rng(0)
    model = ContrastiveModel(network, fit.temperature)
    prepare(model, fit, 1000, Config())
    shape = (batch_size, spec.image_size, spec.image_size, spec.channels)
    views = tuple(tf.constant(random.random(shape, np.float32)) for _ in range(2))
    step = tf.function(model.train_step, autograph=False)
    return lambda: float(step({"views": views})["loss"])


def matrix_product(side):
    """A function that multiplies two float32 matrices of this side."""
    matrix = tf.random.stateless_uniform([side, side], [1, 2])
    product = tf.function(lambda x: tf.reduce_sum(tf.matmul(x, x)[0]))
    return lambda: float(product(matrix))


def step_fp32_peak(repeats, spec=RESNET_18, batch_size=128, sides=(1024, 2048, 3072, 4096), seconds=SECONDS):
    flops = 3 * 2 * network_cost(spec, spec.head_layers).flops  # of an image with its two views
    step = train_step(our_network(spec), spec, batch_size)
    products = {side: matrix_product(side) for side in sides}

    def peak():
        return max(speed(product, 2 * side**3, seconds / len(sides)) for side, product in products.items()) / 1e9

    found = paired(lambda: speed(step, batch_size * flops, seconds) / 1e9, peak, repeats)
    return {**found, "unit": "GFLOP/s", "images/s": statistics.median(found["ours"]) * 1e9 / flops, "batch_size": batch_size}


def step_bf16(repeats, spec=RESNET_18, batch_size=128, seconds=SECONDS):
    if "avx512_bf16" not in pathlib.Path("/proc/cpuinfo").read_text():
        return {"skipped": "this CPU has no AVX512-BF16"}
    steps = [train_step(our_network(spec, precision), spec, batch_size) for precision in ("mixed_bfloat16", "float32")]
    sides = [lambda step=step: speed(step, batch_size, seconds) for step in steps]
    return {**paired(*sides, repeats), "unit": "images/s", "batch_size": batch_size}


def measure_step(make_network, spec, batch_size, seconds):
    """Images per second of a step, and the most memory that this process has held before it and with it, in bytes."""
    before = peak_memory()
    step = train_step(make_network(spec), spec, batch_size)
    for _ in range(2):
        step()
    return speed(step, batch_size, seconds), before, peak_memory()


def step_resnet50_sk(repeats, spec=RESNET_50_SK, batch_size=16, seconds=SECONDS):
    """Every measurement in a process of its own, which imports TensorFlow and has nothing else."""
    memory = {our_network: [], PlainNetwork: []}
    imported = []

    def measure(make_network):
        images, before, peak = apart(measure_step, make_network, spec, batch_size, seconds)
        memory[make_network].append(peak)
        imported.append(before)
        return images

    found = paired(lambda: measure(our_network), lambda: measure(PlainNetwork), repeats)
    ours, against = memory.values()
    ratios = [mine / other for mine, other in zip(ours, against)]
    spread = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return {
        **found,
        "unit": "images/s",
        "batch_size": batch_size,
        "memory_ratio": spread,
        "memory": {"ours": ours, "against": against, "import": statistics.median(imported)},
        "also": [{"what": "peak memory", "value": spread["median"], "bound": "at most", "wanted": 0.7}],
    }
