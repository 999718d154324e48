"""Our AdamW beside Keras'."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.optimizers.adamw import AdamW
from tf_simclr.optimizers.schedules import WarmupCosine

SHAPES = ([3, 3, 4, 8], [8], [], [40, 5])
STEPS = 20


def trained(cls, scope=None, compiled=False, **arguments):
    """Variables and slots after `STEPS` steps of gradients of very different sizes; the second variable is not decayed."""
    random = np.random.default_rng(0)
    with (scope or tf.distribute.get_strategy()).scope():
        weights = [tf.Variable(random.normal(size=shape).astype("f")) for shape in SHAPES]
        optimizer = cls(WarmupCosine(0.01, STEPS, 3), weight_decay=0.1, **arguments)
        optimizer.exclude_from_weight_decay(var_list=[weights[1]])
        optimizer.build(weights)

    @tf.function(jit_compile=compiled or None)
    def step(gradients):
        optimizer.apply_gradients(zip(gradients, weights))

    for _ in range(STEPS):
        gradients = [tf.constant((random.normal(size=shape) * 10.0 ** random.uniform(-6, 1)).astype("f")) for shape in SHAPES]
        scope.run(step, args=(gradients,)) if scope else step(gradients)
    return [v.numpy() for v in (*weights, *optimizer.variables)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_keras_adamw(compiled):
    expected = trained(tf.keras.optimizers.AdamW)
    assert np.abs(expected[0] - trained(tf.keras.optimizers.AdamW, beta_1=0.5)[0]).max() > 1e-3, "the test could not fail"
    assert_same(trained(AdamW, compiled=compiled), expected)
    assert_same(trained(AdamW, epsilon=0.1, beta_1=0.5), trained(tf.keras.optimizers.AdamW, epsilon=0.1, beta_1=0.5))


def test_it_is_keras_adamw_on_two_replicas(two_replicas):
    """Which sum their gradients."""
    assert_same(trained(AdamW, two_replicas), trained(tf.keras.optimizers.AdamW, two_replicas))


def test_a_scaled_loss_that_overflows_moves_nothing():
    found = []
    for cls in (AdamW, tf.keras.optimizers.AdamW):
        weight, optimizer = tf.Variable(tf.ones([3])), tf.keras.mixed_precision.LossScaleOptimizer(cls(0.1, weight_decay=0.1))
        for gradient in (1.0, np.inf, 2.0):
            optimizer.apply_gradients(zip(optimizer.get_unscaled_gradients([optimizer.get_scaled_loss(tf.fill([3], gradient))]), [weight]))
        found.append([weight.numpy(), *(v.numpy() for v in optimizer.inner_optimizer.variables)])
    assert 0.7 < found[0][0][0] < 0.85, "two steps of about a tenth were made, and none by infinity"
    assert_same(*found)


def test_amsgrad_and_sparse_gradients_are_those_of_keras():
    assert_same(trained(AdamW, amsgrad=True), trained(tf.keras.optimizers.AdamW, amsgrad=True))
    moved = []
    for cls in (AdamW, tf.keras.optimizers.AdamW):
        table, optimizer = tf.Variable(tf.ones([4, 2])), cls(0.1, weight_decay=0.1)
        optimizer.apply_gradients([(tf.IndexedSlices(tf.ones([1, 2]), [2], [4, 2]), table)])
        moved.append(table.numpy())
    assert np.ptp(moved[1]) > 0.05
    assert_same(*moved)


def test_checkpoints_and_configs_are_those_of_keras(tmp_path):
    """A run that Keras' own began goes on."""
    theirs, ours = (cls(WarmupCosine(0.01, STEPS, 3), weight_decay=0.1) for cls in (tf.keras.optimizers.AdamW, AdamW))
    weights = [tf.Variable(tf.ones([2, 3])), tf.Variable(tf.ones([3]))]
    theirs.build(weights)
    theirs.apply_gradients([(tf.ones_like(v), v) for v in weights])
    path = tf.train.Checkpoint(optimizer=theirs).write(str(tmp_path / "state"))
    ours.build(weights)
    tf.train.Checkpoint(optimizer=ours).read(path).assert_existing_objects_matched()
    assert_same([v.numpy() for v in ours.variables], [v.numpy() for v in theirs.variables])
    assert ours.get_config() == theirs.get_config()
    again = tf.keras.optimizers.deserialize(tf.keras.optimizers.serialize(ours))
    assert isinstance(again, AdamW) and again.get_config() == ours.get_config()
