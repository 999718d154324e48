import json

import numpy as np
import oracles
import pytest
import tensorflow as tf

from tf_simclr.optimizers.lars import LARS
from tf_simclr.optimizers.schedules import WarmupCosine

RNG = np.random.default_rng(0)
WEIGHTS = [RNG.normal(size=(3, 4)), RNG.normal(size=(5,)), np.zeros((2, 2)), RNG.normal(size=(4,)), RNG.normal(size=(4, 2))]
# The third variable starts at zero, and the fourth has no gradient and no decay to adapt to at first.
GRADIENTS = [[RNG.normal(size=w.shape) * (i != 3 or step > 0) for i, w in enumerate(WEIGHTS)] for step in range(4)]
SCHEDULE = WarmupCosine(2.0, total_steps=4, warmup_steps=1)


def steps(optimizer, count=4):
    variables = [tf.Variable(w, dtype=tf.float32) for w in WEIGHTS]
    optimizer.build(variables)
    for gradients in GRADIENTS[:count]:
        optimizer.apply_gradients([(tf.constant(g, tf.float32), v) for g, v in zip(gradients, variables)])
    return [v.numpy() for v in variables]


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("rate", [3.0, SCHEDULE], ids=["constant", "schedule"])
def test_equals_numpy(rate, weight_decay, nesterov):
    settings = {"momentum": 0.8, "weight_decay": weight_decay, "trust": 0.02, "nesterov": nesterov}
    rates = [float(rate(s)) if callable(rate) else rate for s in range(4)]
    settings |= {"undecayed": [1], "unadapted": [4]}
    for ours, theirs in zip(steps(LARS(rate, **settings)), oracles.lars(WEIGHTS, GRADIENTS, rates=rates, **settings)):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_config_round_trip_as_json():
    optimizer = LARS(SCHEDULE, momentum=0.8, weight_decay=0.1, trust=0.02, nesterov=True, undecayed=[1, 3], unadapted=[0])
    text = json.dumps(tf.keras.optimizers.serialize(optimizer))
    copy = tf.keras.optimizers.deserialize(json.loads(text))
    assert isinstance(copy, LARS) and copy.get_config() == optimizer.get_config()
    for ours, theirs in zip(steps(copy), steps(optimizer)):
        np.testing.assert_array_equal(ours, theirs)


def test_a_constant_rate_round_trips_and_can_be_assigned():
    optimizer = LARS(0.5)
    copy = LARS.from_config(optimizer.get_config())
    assert float(copy.learning_rate) == 0.5
    copy.learning_rate = 0.0
    for ours, before in zip(steps(copy, 1), WEIGHTS):
        np.testing.assert_allclose(ours, before, rtol=1e-6)


def test_eager_and_graph_agree():
    def run(wrap):
        optimizer, variable = LARS(SCHEDULE, weight_decay=0.1), tf.Variable(WEIGHTS[0], dtype=tf.float32)
        optimizer.build([variable])
        step = wrap(lambda g: optimizer.apply_gradients([(g, variable)]))
        for gradients in GRADIENTS:
            step(tf.constant(gradients[0], tf.float32))
        return variable.numpy()

    np.testing.assert_allclose(run(tf.function), run(lambda f: f), rtol=1e-6)
