import sys

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.config import FitConfig, ModelConfig
from tf_simclr.errors import UsageError
from tf_simclr.models.layers import BatchNorm, SupervisedHead
from tf_simclr.models.network import Network
from tf_simclr.optimizers.build import build
from tf_simclr.optimizers.masks import plain_variables

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


def expected_plain(network):
    """By what the variables are: everything but kernels, and the classifier's kernel."""
    kernels = {v.ref() for v in network.trainable_variables if v.shape.rank > 1}
    kernels.discard(network.classifier.kernel.ref())
    return {v.ref() for v in network.trainable_variables} - kernels


def test_masks_by_role():
    network = Network(SPEC, 1, 3).build_variables()
    plain = plain_variables(network)
    assert len(plain) == len({v.ref() for v in plain}) and {v.ref() for v in plain} == expected_plain(network)
    assert sum(isinstance(layer, (BatchNorm, SupervisedHead)) for layer in network.submodules) * 2 == len(plain)


def test_masks_find_biases_in_any_layer():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2), tf.keras.layers.Conv2D(2, 1, use_bias=False)])
    model.layers[0].build([None, 3])
    assert [v.shape.as_list() for v in plain_variables(model)] == [[2]]


@pytest.mark.parametrize("rule", RULES)
def test_weight_decay_leaves_the_plain_variables_alone(rule):
    network, optimizer = made(rule)
    apply(optimizer, network, 0.0)  # what moves now is moved by weight decay
    plain = expected_plain(network)
    for v in network.trainable_variables:
        moved = np.abs(v.numpy() - 1).max()
        assert moved == 0 if v.ref() in plain else moved > 1e-5, v.name


@pytest.mark.parametrize("rule", RULES)
def test_a_step_goes_down(rule):
    network, optimizer = made(rule, weight_decay=0.0)
    apply(optimizer, network, 1.0)
    assert all(np.all(v.numpy() < 1) for v in network.trainable_variables)
    assert optimizer.iterations == 1


@pytest.mark.parametrize("rule", ["lars", "lamb"])
def test_layer_adaptation_leaves_the_plain_variables_alone(rule):
    (one, first), (other, second) = made(rule, weight_decay=0.0), made(rule, weight_decay=0.0)
    for v in other.trainable_variables:
        v.assign(2 * v)
    apply(first, one, 1.0)
    apply(second, other, 1.0)
    plain = expected_plain(one)
    for v, w in zip(one.trainable_variables, other.trainable_variables):
        # Adapted steps are proportional to the weights; plain ones are not.
        ratio = np.mean(2 - w.numpy()) / np.mean(1 - v.numpy())
        np.testing.assert_allclose(ratio, 1 if v.ref() in plain else 2, rtol=1e-3, err_msg=v.name)


def test_sgd_is_nesterovs():
    network, optimizer = made("sgd", weight_decay=0.0)
    apply(optimizer, network, 1.0)
    np.testing.assert_allclose(network.trainable_variables[0], 1 - 0.1 * (1 + 0.9), rtol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_replicas_stay_alike(rule, two_replicas):
    with two_replicas.scope():
        network, optimizer = made(rule)
    two_replicas.run(lambda: apply(optimizer, network, 0.0))
    for v in plain_variables(network):
        for copy in two_replicas.experimental_local_results(v):
            np.testing.assert_array_equal(copy, np.ones(v.shape), err_msg=v.name)


def test_lamb_without_addons_says_what_to_do(monkeypatch):
    network = Network(SPEC, 0).build_variables()
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(UsageError, match="lamb needs tensorflow-addons.*--optimizer=lars"):
        build(network, FitConfig(optimizer="lamb"), 10)
