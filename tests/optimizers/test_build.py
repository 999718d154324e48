import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.config import FitConfig, ModelConfig
from tf_simclr.errors import UsageError
from tf_simclr.models.layers import BatchNorm
from tf_simclr.models.network import Network
from tf_simclr.optimizers.build import build
from tf_simclr.optimizers.masks import classifier_kernels, undecayed
from tf_simclr.optimizers.schedules import WarmupCosine

pytestmark = pytest.mark.usefixtures("short_resnet")
RULES = ("lars", "sgd", "adamw", "lamb")
SPEC = ModelConfig(depth=10, width=0.05, sk=True, stem="cifar", image_size=8, channels=1, head_layers=2, head_dim=3)


def made(rule, weight_decay=0.5):
    if rule == "lamb":
        pytest.importorskip("tensorflow_addons")
    network = Network(SPEC, 1, 3).build_variables()
    for v in network.trainable_variables:
        v.assign(tf.ones_like(v))
    fit = FitConfig(optimizer=rule, learning_rate=0.1, lr_scaling="none", weight_decay=weight_decay, warmup=0.0)
    optimizer = build(network, fit, total_steps=10)
    optimizer.build(network.trainable_variables)
    return network, optimizer


def apply(optimizer, network, value):
    optimizer.apply_gradients([(tf.fill(v.shape, value), v) for v in network.trainable_variables])


def vectors(network):
    """By what the variables are: everything but kernels."""
    return {v.ref() for v in network.trainable_variables if v.shape.rank == 1}


def test_masks_by_role():
    network = Network(SPEC, 1, 3).build_variables()
    left = undecayed(network)
    assert len(left) == len({v.ref() for v in left}) and {v.ref() for v in left} == vectors(network)
    norms = sum(isinstance(layer, BatchNorm) for layer in network.submodules)
    assert len(left) == 2 * norms + 1  # scale and offset each, and the bias of the classifier
    assert [v.ref() for v in classifier_kernels(network)] == [network.classifier.kernel.ref()]
    assert classifier_kernels(Network(SPEC, 1, 0).build_variables()) == []


def test_masks_find_biases_in_any_layer():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2), tf.keras.layers.Conv2D(2, 1, use_bias=False)])
    model.layers[0].build([None, 3])
    assert [v.shape.as_list() for v in undecayed(model)] == [[2]]


@pytest.mark.parametrize("rule", RULES)
def test_weight_decay_is_for_kernels(rule):
    network, optimizer = made(rule)
    apply(optimizer, network, 0.0)  # what moves now is moved by weight decay
    for v in network.trainable_variables:
        moved = np.abs(v.numpy() - 1).max()
        assert moved == 0 if v.ref() in vectors(network) else moved > 1e-5, v.name


@pytest.mark.parametrize("rule", ["sgd", "adamw"])
def test_one_weight_decay_is_the_same_for_all_kernels(rule):
    """Three steps of nothing else, from ones: L2 in Nesterov's momentum, or a share of the weights."""
    network, optimizer = made(rule)
    weight, velocity = 1.0, 0.0
    for step in range(3):
        rate = float(WarmupCosine(0.1, 10, 0)(step))
        apply(optimizer, network, 0.0)
        if rule == "sgd":
            velocity = 0.9 * velocity - rate * 0.5 * weight
            weight += 0.9 * velocity - rate * 0.5 * weight
        else:
            weight -= rate * 0.5 * weight
    assert weight < 0.9
    for v in network.trainable_variables:
        if v.shape.rank > 1:
            np.testing.assert_allclose(v, np.full(v.shape, weight), rtol=1e-5, err_msg=v.name)


@pytest.mark.parametrize("rule", RULES)
def test_a_step_goes_down(rule):
    network, optimizer = made(rule, weight_decay=0.0)
    apply(optimizer, network, 1.0)
    assert all(np.all(v.numpy() < 1) for v in network.trainable_variables)
    assert optimizer.iterations == 1


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_layer_adaptation_is_for_kernels_but_the_classifiers(rule):
    (one, first), (other, second) = made(rule, weight_decay=0.0), made(rule, weight_decay=0.0)
    for v in other.trainable_variables:
        v.assign(2 * v)
    apply(first, one, 1.0)
    apply(second, other, 1.0)
    alone = vectors(one) | {one.classifier.kernel.ref()}
    for v, w in zip(one.trainable_variables, other.trainable_variables):
        # Adapted steps are proportional to the weights; others are not.
        ratio = np.mean(2 - w.numpy()) / np.mean(1 - v.numpy())
        np.testing.assert_allclose(ratio, 1 if v.ref() in alone else 2, rtol=1e-3, err_msg=v.name)


def test_sgd_is_nesterovs():
    network, optimizer = made("sgd", weight_decay=0.0)
    apply(optimizer, network, 1.0)
    np.testing.assert_allclose(network.trainable_variables[0], 1 - 0.1 * (1 + 0.9), rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_replicas_stay_alike(rule, two_replicas):
    with two_replicas.scope():
        network, optimizer = made(rule)
    two_replicas.run(lambda: apply(optimizer, network, 0.0))
    for v in undecayed(network):
        for copy in two_replicas.experimental_local_results(v):
            np.testing.assert_array_equal(copy, np.ones(v.shape), err_msg=v.name)


def test_lamb_without_addons_says_what_to_do(monkeypatch):
    network = Network(SPEC, 0).build_variables()
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(UsageError, match="lamb needs tensorflow-addons.*--optimizer=lars"):
        build(network, FitConfig(optimizer="lamb"), 10)
