"""Exports as others use them: loaded, called, trained on and saved again by TensorFlow and TensorFlow Hub, without this package."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
import tiny

from tf_simclr import shipped
from tf_simclr.config import ModelConfig
from tf_simclr.export.saved_model import export_network

SPEC = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=12, channels=3, head_layers=2, head_width=6, head_dim=5)
ENDPOINTS = {"initial_conv", "initial_max_pool", "block_group1", "block_group2", "final_avg_pool"}
RELEASED = ENDPOINTS | {"proj_head_input", "proj_head_output"}


@pytest.fixture(scope="module")
def network():
    """Of two groups, with its whole head and a classifier."""
    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched, groups=2)
        yield tiny.scattered_network(SPEC, 2)


@pytest.fixture(scope="module")
def images():
    """Of the network's own size, and of another size and number."""
    rng = np.random.default_rng(0)
    return {"native": rng.random([12, 12, 12, 3], np.float32), "wide": rng.random([5, 20, 17, 3], np.float32)}


@pytest.fixture(scope="module")
def found(network, images, alone, tmp_path_factory):
    """What `use_by_hub.py` saw."""
    folder = tmp_path_factory.mktemp("hub")
    export_network(network, tiny.CLASSES, folder / "export")
    shutil.copytree(shipped.locate("pretrained:fashion_mnist") / "export", folder / "shipped")
    np.savez(folder / "images.npz", **images)
    alone("use_by_hub.py", folder)
    with np.load(folder / "found.npz") as seen:
        return dict(seen)


@pytest.fixture(scope="module")
def trained(network, images):
    """(outputs, gradients by variable, variables afterwards) of one call of the network in training mode, which is then as before."""
    weights = network.get_weights()
    with tf.GradientTape() as tape:
        features = network(images["native"], training=True)["features"]
        loss = tf.reduce_sum(tf.square(features[2]))
    gradients = tape.gradient(loss, network.trainable_variables)
    after = [v.numpy() for v in network.variables]
    network.set_weights(weights)
    return features, gradients, after


@pytest.mark.parametrize("size", ["native", "wide"])
def test_features_of_every_layer(size, found, network, images):
    features = network(images[size])["features"]
    assert np.ptp(features[2], axis=0).max() > 1e-2, "all images alike: the test could not fail"
    np.testing.assert_allclose(found[f"{size}/default"], features[0], atol=1e-5)
    for selector, expected in enumerate(features):
        np.testing.assert_allclose(found[f"{size}/{selector}"], expected, atol=1e-5)


@pytest.mark.parametrize("size", ["native", "wide"])
def test_the_call_of_the_released_models(size, found, network, images):
    start = f"{size}/released/"
    seen = {name[len(start) :]: value for name, value in found.items() if name.startswith(start)}
    expected, whole = network.encoder.endpoints(images[size], training=False), network(images[size])
    assert set(expected) == ENDPOINTS and set(seen) == RELEASED | {"logits_sup"}
    expected |= {"proj_head_input": whole["features"][0], "proj_head_output": whole["features"][2], "logits_sup": whole["logits"]}
    for name, value in expected.items():
        np.testing.assert_allclose(seen[name], value, atol=1e-5, err_msg=name)


def test_the_shipped_encoder_has_a_projection_and_no_classes(found):
    assert set(found["shipped/names"]) == RELEASED | {"block_group3", "block_group4"}


def test_training_mode(found, network, trained):
    features, gradients, after = trained
    assert found["untouched"], "inference changed a variable"
    np.testing.assert_allclose(found["training"], features[2], atol=1e-4)
    np.testing.assert_allclose(found["released in training"], features[0], atol=1e-4)
    assert sum(name.startswith("after/") for name in found) == len(after)
    for i, (expected, variable) in enumerate(zip(after, network.variables)):
        assert variable.trainable == np.array_equal(expected, variable), "statistics move, and nothing else"
        np.testing.assert_allclose(found[f"after/{i}"], expected, atol=1e-5)
        np.testing.assert_allclose(found[f"after released/{i}"], expected, atol=1e-5)
    assert sum(name.startswith("gradient/") for name in found) == len(gradients)
    for i, expected in enumerate(gradients):
        scale = 0.0 if expected is None else np.abs(expected).max()
        np.testing.assert_allclose(found[f"gradient/{i}"], 0.0 if expected is None else expected, atol=1e-2 * scale + 1e-6)
    assert found["regularization_losses"] == 0


@pytest.mark.parametrize("name, selector", [("plain", 0), ("frozen", 0), ("selector", 1), ("released", 0)])
def test_as_a_layer_that_trains(name, selector, found, network, images):
    np.testing.assert_allclose(found[f"{name}/output"], network(images["wide"])["features"][selector], atol=1e-5)
    assert found[f"{name}/trainable"] == (0 if name == "frozen" else len(network.trainable_variables))
    reached = [] if name == "frozen" else [network.encoder, *network.head.layers[:selector]]
    reached = {id(v) for part in reached for v in part.trainable_variables}
    statistics = name in ("plain", "selector")  # arguments={"trainable": False} asks for inference
    moved = dict(zip([v.name for v in network.variables], found[f"{name}/changed"]))
    assert moved == {v.name: id(v) in reached if v.trainable else statistics for v in network.variables}


def test_a_model_on_top_is_saved_again(found):
    assert np.ptp(found["saved/expected"]) > 1e-3
    np.testing.assert_allclose(found["saved/found"], found["saved/expected"], atol=1e-5)
