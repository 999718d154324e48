import math

import numpy as np
import oracles
import pytest
import tensorflow as tf

from tf_simclr.objectives.nt_xent import nt_xent


def projections(count=5, dim=7, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(count, dim))
    return first, first + rng.normal(size=(count, dim))


def with_gradients(loss_of, first, second):
    views = [tf.convert_to_tensor(first), tf.convert_to_tensor(second)]
    with tf.GradientTape() as tape:
        tape.watch(views)
        loss = loss_of(*views)
    return loss, tape.gradient(loss, views)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_equals_the_papers_loops(temperature):
    first, second = projections()
    expected, expected_gradients = with_gradients(lambda a, b: oracles.nt_xent(a, b, temperature), first, second)
    loss, gradients = with_gradients(lambda a, b: nt_xent(a, b, temperature)["loss"], first.astype(np.float32), second.astype(np.float32))
    np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=1e-6)
    for ours, theirs in zip(gradients, expected_gradients):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    first, second = (tf.cast(x, dtype) for x in projections())
    scalars = nt_xent(first, second, 0.1)
    assert all(value.dtype == tf.float32 for value in scalars.values())
    expected = oracles.nt_xent(tf.cast(first, tf.float64), tf.cast(second, tf.float64), 0.1)
    np.testing.assert_allclose(scalars["loss"], expected, rtol=1e-6)


def queue(count=11, dim=7, images=5):
    """Negatives of unit length, and which of them each image meets: not all, and not the same."""
    rng = np.random.default_rng(1)
    negatives = rng.normal(size=(count, dim))
    allowed = rng.random((images, count)) < 0.7
    allowed[0], allowed[1] = False, True
    return negatives / np.linalg.norm(negatives, axis=1, keepdims=True), allowed


def test_further_negatives_equal_the_loops():
    first, second = projections()
    negatives, allowed = queue()

    def met(image):
        return [negatives[k] for k in range(len(negatives)) if allowed[image, k]]

    expected, expected_gradients = with_gradients(lambda a, b: oracles.nt_xent(a, b, 0.3, met), first, second)
    first, second, negatives = (x.astype(np.float32) for x in (first, second, negatives))
    loss, gradients = with_gradients(lambda a, b: nt_xent(a, b, 0.3, negatives=negatives, allowed=allowed)["loss"], first, second)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for ours, theirs in zip(gradients, expected_gradients):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    scalars = nt_xent(first, second, 0.3, negatives=negatives, allowed=allowed)
    np.testing.assert_allclose(scalars["chance_loss"], np.mean([math.log(9 + sum(row)) for row in allowed]), rtol=1e-6)


def test_partners_by_another_network_equal_the_loops():
    """And no gradient reaches what that network projects."""
    first, second = projections()
    keys, (negatives, allowed) = np.stack(projections(seed=2)), queue()

    def met(image):
        return [negatives[k] for k in range(len(negatives)) if allowed[image, k]]

    expected, expected_gradients = with_gradients(lambda a, b: oracles.nt_xent(a, b, 0.3, met, keys), first, second)
    first, second, keys, negatives = (tf.constant(x, tf.float32) for x in (first, second, keys, negatives))
    with tf.GradientTape() as tape:
        tape.watch([first, second, keys])
        loss = nt_xent(first, second, 0.3, keys=keys, negatives=negatives, allowed=allowed)["loss"]
    *gradients, of_keys = tape.gradient(loss, [first, second, keys])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    for ours, theirs in zip(gradients, expected_gradients):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert of_keys is None


def test_an_image_that_comes_twice_is_not_its_own_negative():
    """As the loops without its other views, for every view."""
    first, second = (x.astype(np.float32) for x in projections())
    examples, temperature = np.array([3, 1, 3, 2, 0]), 0.3
    z = np.concatenate([first, second])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    losses, choices = [], []
    for i in range(10):
        partner = (i + 5) % 10
        others = [k for k in range(10) if k == partner or examples[k % 5] != examples[i % 5]]
        losses.append(np.log(np.exp(z[others] @ z[i] / temperature).sum()) - z[partner] @ z[i] / temperature)
        choices.append(math.log(len(others)))
    assert len(set(choices)) == 2
    scalars = nt_xent(first, second, temperature, examples=tf.constant(examples, tf.int64))
    np.testing.assert_allclose(scalars["loss"], np.mean(losses), rtol=1e-6)
    np.testing.assert_allclose(scalars["chance_loss"], np.mean(choices), rtol=1e-6)


def test_no_negative_allowed_is_no_queue():
    first, second = (x.astype(np.float32) for x in projections())
    negatives, allowed = queue()
    bare = nt_xent(first, second, 0.3)
    empty = nt_xent(first, second, 0.3, negatives=negatives.astype(np.float32), allowed=np.zeros_like(allowed))
    for name, value in bare.items():
        np.testing.assert_allclose(empty[name], value, rtol=1e-6, err_msg=name)


def test_no_gradient_reaches_the_negatives():
    first, second = (tf.constant(x, tf.float32) for x in projections())
    negatives, allowed = queue()
    negatives = tf.constant(negatives, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(negatives)
        loss = nt_xent(first, second, 0.3, negatives=negatives, allowed=allowed)["loss"]
    assert tape.gradient(loss, negatives) is None


def test_scale_of_the_projections_does_not_matter():
    first, second = projections()
    np.testing.assert_allclose(nt_xent(first, second, 0.2)["loss"], nt_xent(first * 1e3, second * 1e-3, 0.2)["loss"], rtol=1e-5)


def test_top1_counts_partners_that_are_nearest():
    corners = tf.eye(4)
    assert nt_xent(corners, corners, 0.1)["contrastive_top1"] == 1.0
    # Views 0 and 1 swap partners: of the eight views only those of images 2 and 3 find theirs.
    assert nt_xent(corners, tf.gather(corners, [1, 0, 2, 3]), 0.1)["contrastive_top1"] == 0.5


def test_z_std_tells_spread_from_collapse():
    spread = tf.random.stateless_normal([256, 64], [1, 2])
    assert abs(nt_xent(spread, tf.reverse(spread, [0]), 0.1)["z_std"] - 1) < 0.05
    collapsed = nt_xent(tf.ones([8, 4]), tf.ones([8, 4]), 0.1)
    assert collapsed["z_std"] < 1e-6
    np.testing.assert_allclose(collapsed["loss"], math.log(2 * 8 - 1), rtol=1e-6)
    np.testing.assert_allclose(collapsed["chance_loss"], collapsed["loss"], rtol=1e-6)


@pytest.mark.parametrize("with_memory", [False, True])
def test_two_replicas_share_the_loss_and_the_gradients_of_one(two_replicas, with_memory):
    negatives, allowed = queue(images=6)
    negatives, keys = negatives.astype(np.float32), np.stack(projections(6, seed=2)).astype(np.float32)
    # One image on both replicas; two numbers that float32 cannot tell apart.
    examples = tf.constant([4, 1 << 40, 6, 7, 4, (1 << 40) + 1], tf.int64)

    def loss_of(rows):
        further = {"examples": tf.gather(examples, rows)}
        if with_memory:
            further |= {"keys": tf.gather(keys, rows, axis=1), "negatives": negatives, "allowed": tf.gather(allowed, rows)}
        return lambda a, b: nt_xent(a, b, 0.3, **further)["loss"]

    first, second = (x.astype(np.float32) for x in projections(6))
    first[3:] *= 5.0  # what one replica sees is unlike what the other sees
    first[3:, 0] += 7.0
    expected, expected_gradients = with_gradients(loss_of(tf.range(6)), first, second)

    @tf.function
    def shares():
        def one():
            index = tf.distribute.get_replica_context().replica_id_in_sync_group
            own = [tf.reshape(x, [2, 3, -1])[index] for x in (first, second)]
            return with_gradients(loss_of(3 * index + tf.range(3)), *own)

        return two_replicas.run(one)

    loss, gradients = tf.nest.map_structure(two_replicas.experimental_local_results, shares())
    np.testing.assert_allclose(sum(loss), expected, rtol=1e-6)
    for ours, theirs in zip(gradients, expected_gradients):
        np.testing.assert_allclose(np.concatenate(ours), theirs, atol=1e-5)
