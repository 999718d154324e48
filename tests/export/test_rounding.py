"""Weights of 16 bits: what the rounding of one answers to the rounding of the others, and which it may change."""

import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.export import rounding
from tf_simclr.export.rounding import compensated, round_weights
from tf_simclr.export.tflite_layers import TFLiteFile


def correlated(rows, inputs=96):
    """Inputs as after ReLU: none negative, and few directions that matter."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=[inputs // 8, inputs])
    return np.maximum(random.normal(size=[rows, inputs // 8]) @ mixing + 1, 0)


def rounded_alone(inputs, weights):
    """Where what is wanted is what the weights make of the inputs."""
    return compensated(weights, inputs.T @ inputs, np.zeros_like(weights))


def error(inputs, weights, wanted):
    return np.sqrt(np.mean((inputs @ weights.astype(np.float64) - wanted) ** 2))


def test_products_with_other_inputs_come_closer_than_by_rounding_to_the_nearest():
    inputs, weights = correlated(1000), np.random.default_rng(1).normal(size=[96, 5]).astype(np.float32)
    seen, other = inputs[:600], inputs[600:]
    chosen = rounded_alone(seen, weights)
    assert chosen.dtype == np.float16
    np.testing.assert_allclose(chosen, weights, atol=0.01)
    assert error(other, chosen, other @ weights) < 0.5 * error(other, weights.astype(np.float16), other @ weights)


def test_what_layers_before_have_changed_is_made_good():
    inputs, weights = correlated(1000), np.random.default_rng(1).normal(size=[96, 5]).astype(np.float32)
    wanted, seen = inputs @ weights, inputs * 1.01
    chosen = compensated(weights, seen.T @ seen, seen.T @ (wanted - seen @ weights))
    assert error(seen, chosen, wanted) < 0.2 * error(seen, rounded_alone(seen, weights), wanted)


def test_one_input_is_rounded_to_the_nearest_of_its_least_squares():
    chosen = compensated(np.array([[1.0]]), np.array([[4.0]]), np.array([[0.5]]))
    assert chosen.item() == np.float16(1 + 0.5 / (4 * (1 + rounding.DAMPING)))


def test_blocks_are_for_speed_alone(monkeypatch):
    inputs, weights = correlated(200), np.random.default_rng(1).normal(size=[96, 5]).astype(np.float32)
    found = []
    for block in (1, 7, 1000):
        monkeypatch.setattr(rounding, "BLOCK", block)
        found.append(rounded_alone(inputs, weights))
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)
    np.testing.assert_allclose(found[2], found[0], atol=1e-3)
    assert np.mean(found[2] == found[0]) > 0.9


def test_few_inputs_are_rounded_in_the_best_of_many_orders(monkeypatch):
    inputs, weights = correlated(200)[:, :12], np.random.default_rng(1).normal(size=[12, 50]).astype(np.float32)
    many = rounded_alone(inputs, weights)
    monkeypatch.setattr(rounding, "NARROW", 11)
    assert error(inputs, many, inputs @ weights) < 0.9 * error(inputs, rounded_alone(inputs, weights), inputs @ weights)


def test_a_weight_beyond_16_bits_becomes_the_largest_there_is():
    chosen = rounded_alone(np.eye(2), np.array([[1e6], [-1e6]]))
    np.testing.assert_array_equal(chosen, np.array([[65504], [-65504]], np.float16))


@pytest.fixture(scope="module")
def files():
    """(images, float32 file, float16 file) of a convolution of stride 2, a matrix product that is used twice, and one with a bias."""
    random = np.random.default_rng(2)
    values = {"conv": [3, 3, 2, 64], "twice": [64, 64], "last": [64, 5], "bias": [5]}
    weights = {name: tf.constant(random.normal(size=shape) / np.sqrt(np.prod(shape[:-1])), tf.float32) for name, shape in values.items()}

    @tf.function(input_signature=[tf.TensorSpec([1, 9, 9, 2], tf.float32, name="images")])
    def classify(images):
        hidden = tf.nn.relu(tf.nn.conv2d(images, weights["conv"], 2, "SAME"))
        hidden = tf.reduce_mean(hidden, axis=[1, 2])
        for _ in range(2):
            hidden = tf.nn.relu(hidden @ weights["twice"])
        return {"logits": hidden @ weights["last"] + weights["bias"]}

    found = []
    for kind in (tf.float32, tf.float16):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()], tf.Module())
        if kind == tf.float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [kind]
        found.append(converter.convert())
    return random.random([40, 9, 9, 2], np.float32), *found


def run(content, images):
    classify = tf.lite.Interpreter(model_content=content).get_signature_runner()
    return np.concatenate([classify(images=image[None])["logits"] for image in images])


def kernels(content):
    """{shape: values} of the weights that layers multiply by."""
    return {layer.kernel.shape: layer.kernel for layer in TFLiteFile(content).layers()}


def test_a_file_comes_closer_to_that_of_32_bits_in_the_same_bytes(files):
    images, exact, nearest = files
    chosen = round_weights(nearest, exact, images[:30])
    assert len(chosen) == len(nearest)
    expected = run(exact, images[30:])
    assert np.ptp(expected, axis=0).max() > 0.05, "images all alike: the test could not fail"
    assert np.abs(run(chosen, images[30:]) - expected).max() < 0.5 * np.abs(run(nearest, images[30:]) - expected).max()


def test_weights_that_two_layers_share_stay(files):
    images, exact, nearest = files
    before, after = kernels(nearest), kernels(round_weights(nearest, exact, images))
    np.testing.assert_array_equal(after[(64, 64)], before[(64, 64)])
    for shape in ((64, 3, 3, 2), (5, 64)):
        assert np.mean(after[shape] != before[shape]) > 0.05
        np.testing.assert_allclose(after[shape], before[shape], atol=0.02)


def test_a_layer_too_wide_stays(files, monkeypatch):
    images, exact, nearest = files
    monkeypatch.setattr(rounding, "WIDEST", 63)
    before, after = kernels(nearest), kernels(round_weights(nearest, exact, images))
    assert np.mean(after[(64, 3, 3, 2)] != before[(64, 3, 3, 2)]) > 0.05
    np.testing.assert_array_equal(after[(5, 64)], before[(5, 64)])
