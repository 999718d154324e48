"""A batch in parts is the batch; that it is so on two replicas stands in test_memory.py."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny
from networks import BATCH, PLAIN, halves, images

from tf_simclr.config import FitConfig, PretrainConfig
from tf_simclr.errors import UsageError
from tf_simclr.models import backbones
from tf_simclr.models.layers import BatchNorm
from tf_simclr.objectives.nt_xent import nt_xent
from tf_simclr.optimizers.build import build
from tf_simclr.stages import setup
from tf_simclr.training.models import ContrastiveModel

pytestmark = pytest.mark.usefixtures("short_resnet")

TEMPERATURE, SIZE = 0.5, 4


OWN = dataclasses.replace(PLAIN, backbone="own")


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """An encoder of Keras' layers."""
    monkeypatch.setattr(backbones, "_registered", {})
    layers = tf.keras.layers
    backbones.register_backbone(
        "own", lambda shape: tf.keras.Sequential([layers.Conv2D(4, 3, input_shape=shape), layers.BatchNormalization(), layers.ReLU()])
    )


def model_of(size, spec=PLAIN):
    network = tiny.scattered_network(spec, head_layers=2, classes=0)
    model = ContrastiveModel(network, TEMPERATURE, size)
    optimizer = build(network, FitConfig(optimizer="sgd", learning_rate=0.01, lr_scaling="none", warmup=0.0), total_steps=10)
    optimizer.build(network.trainable_variables)
    model.compile(optimizer=optimizer)
    return model


def batch(seed=0):
    rng = np.random.default_rng(seed)
    return {"views": (images(rng), images(rng))}


def gradients(model, compiled=lambda step: step):
    scalars, found = compiled(model.differentiate)(tf.nest.map_structure(tf.constant, batch()))
    return {name: float(value) for name, value in scalars.items()}, [g.numpy() for g in found]


def assert_close(ours, theirs, tolerance=1e-5):
    """Equal up to a share of the largest of all."""
    theirs = [np.asarray(b) for b in theirs]
    largest = max(np.abs(b).max() for b in theirs)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


def moving(model):
    return [v.numpy() for v in model.network.non_trainable_variables]


@pytest.mark.parametrize("size", [1, SIZE])
def test_gradients_are_those_of_the_plain_step_when_batch_norm_is_frozen(size, monkeypatch):
    real = BatchNorm.call
    monkeypatch.setattr(BatchNorm, "call", lambda self, x, training=False: real(self, x, training=False))
    scalars, found = gradients(model_of(size))
    expected_scalars, expected = gradients(model_of(0))
    assert_close(found, expected)
    assert scalars == pytest.approx(expected_scalars, rel=1e-5)


@pytest.mark.parametrize("spec", [PLAIN, OWN], ids=["ours", "own"])
def test_one_micro_batch_is_the_plain_step(spec):
    micro, plain = model_of(BATCH, spec), model_of(0, spec)
    (scalars, found), (expected_scalars, expected) = gradients(micro), gradients(plain)
    assert_close(found, expected)
    assert scalars == pytest.approx(expected_scalars, rel=1e-5)
    assert_close(moving(micro), moving(plain))


@pytest.mark.parametrize("spec", [PLAIN, OWN], ids=["ours", "own"])
def test_batch_norm_takes_each_micro_batch_by_itself_and_moves_once_for_it(spec):
    model, other = model_of(SIZE, spec), model_of(0, spec)
    first, second = batch()["views"]
    with tf.GradientTape() as tape:
        z = []
        for start in range(0, BATCH, SIZE):
            both = tf.concat([first[start : start + SIZE], second[start : start + SIZE]], 0)
            z.append(other.network(both, training=True)["features"][-1])
        loss = nt_xent(tf.concat([part[:SIZE] for part in z], 0), tf.concat([part[SIZE:] for part in z], 0), TEMPERATURE)["loss"]
    scalars, found = gradients(model)
    assert scalars["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert_close(found, tape.gradient(loss, other.network.trainable_variables))
    assert_close(moving(model), moving(other))


def test_an_own_encoder_on_two_replicas(two_replicas):
    """Every replica moves its statistics by its own micro-batches; what is read is the mean of both."""
    with two_replicas.scope():
        model = model_of(SIZE, OWN)
    two_replicas.run(tf.function(model.differentiate), args=(halves(two_replicas, batch()),))
    parts = []
    for half in range(2):
        alone = model_of(SIZE, OWN)
        alone.differentiate(tf.nest.map_structure(lambda x, i=half: tf.constant(np.split(x, 2)[i]), batch()))
        parts.append(moving(alone))
    assert_close(moving(model), [np.mean(pair, axis=0) for pair in zip(*parts)])


def test_eager_equals_graph():
    model, other = model_of(SIZE), model_of(SIZE)
    assert_close(gradients(model)[1], gradients(other, tf.function)[1])
    assert_close(moving(model), moving(other))


def test_the_graph_does_not_grow_with_the_number_of_micro_batches():
    def nodes(size):
        function = tf.function(model_of(size).differentiate).get_concrete_function(tf.nest.map_structure(tf.constant, batch()))
        definition = function.graph.as_graph_def()
        return len(definition.node) + sum(len(f.node_def) for f in definition.library.function)

    assert nodes(8) == nodes(2)


def test_micro_batches_must_fill_the_part_of_every_replica():
    setup.check_micro_batch(PretrainConfig(batch_size=64, micro_batch_size=16), replicas=2)
    setup.check_micro_batch(PretrainConfig(batch_size=64), replicas=2)
    with pytest.raises(UsageError, match=r"^--micro_batch_size must divide the 32 images of a replica .* got 24; give a divisor.*$"):
        setup.check_micro_batch(PretrainConfig(batch_size=64, micro_batch_size=24), replicas=2)
