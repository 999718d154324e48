"""The plain network that the benchmark compares with is ours in other words; the rows run at a tiny size."""

import importlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.config import ModelConfig
from tf_simclr.stages.setup import build_network

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
SPEC = ModelConfig(depth=50, sk=True, width=0.125, stem="imagenet", image_size=35, channels=3, head_layers=2, head_dim=4)


@pytest.fixture(scope="module")
def steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        yield importlib.import_module("benchmarks.steps")


def test_the_plain_network_is_ours(steps):
    ours, plain = build_network(SPEC, 2, 0, seed=0), steps.PlainNetwork(SPEC)
    assert plain.count_params() == ours.count_params()
    random = np.random.default_rng(0)
    for mine, other in zip(ours.variables, plain.variables):
        fan_in = np.prod(mine.shape[:3])
        mine.assign(random.normal(0, fan_in**-0.5, mine.shape) if mine.shape.rank == 4 else random.uniform(0.5, 1.5, mine.shape))
        other.assign(mine)
    images = tf.constant(random.random((8, 35, 35, 3)), tf.float32)
    for training in (False, True):
        pairs = zip(ours(images, training=training)["features"], plain(images, training=training)["features"])
        for mine, other in pairs:
            np.testing.assert_allclose(mine, other, atol=1e-2 * np.abs(other).max())


def test_a_row_is_of_floating_point_operations(steps):
    spec = ModelConfig(depth=10, width=0.1, stem="cifar", image_size=8, channels=3, head_layers=1, head_dim=4)
    found = steps.step_fp32_peak(2, spec, batch_size=4, sides=(64,), seconds=0.01)
    assert len(found["ratios"]) == 2 and all(0 < ratio for ratio in found["ratios"]) and found["unit"] == "GFLOP/s"
