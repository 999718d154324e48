import numpy as np
import pytest
import tensorflow as tf

from tf_simclr.config import ModelConfig
from tf_simclr.models.network import Network

SPEC = ModelConfig(depth=10, width=0.125, stem="cifar", image_size=8, channels=3, head_layers=3, head_dim=5)
IMAGES = tf.random.stateless_uniform([4, 8, 8, 3], [1, 2])


def network(head_layers, num_classes=0):
    tf.keras.utils.set_random_seed(1)
    return Network(SPEC, head_layers, num_classes).build_variables()


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_the_selector_means_the_same_in_every_network(kept):
    whole, part = network(3), network(kept, num_classes=6)
    expected = whole(IMAGES)["features"]
    out = part(IMAGES)
    assert len(expected) == 4 and len(out["features"]) == kept + 1
    for ours, theirs in zip(out["features"], expected):
        np.testing.assert_array_equal(ours, theirs)  # the same seed gives the layers in common the same weights
    part.classifier.kernel.assign(tf.random.stateless_normal(part.classifier.kernel.shape, [3, 4]))
    np.testing.assert_allclose(part(IMAGES)["logits"], expected[kept] @ part.classifier.kernel, atol=1e-5)


def test_element_k_is_the_output_of_head_layer_k():
    whole = network(3)
    rng = np.random.default_rng(0)
    for v in whole.head.variables:
        v.assign(rng.uniform(0.5, 1.5, v.shape) * (rng.choice([-1, 1], v.shape) if "kernel" in v.name else 1))
    features = whole(IMAGES)["features"]
    np.testing.assert_array_equal(features[0], whole.encoder(IMAGES))
    x = features[0].numpy()
    for k, layer in enumerate(whole.head.layers, start=1):
        norm = layer.norm
        x = (x @ layer.dense.kernel.numpy() - norm.moving_mean) / np.sqrt(norm.moving_variance + 1e-5) * norm.gamma
        x = np.asarray(x if k == 3 else np.maximum(x + norm.beta, 0))
        np.testing.assert_allclose(features[k], x, rtol=1e-4, atol=1e-5)
    assert whole.head.layers[2].norm.beta is None and features[3].shape[1] == 5


def test_outputs_without_classes_have_no_logits():
    assert list(network(1)(IMAGES)) == ["features"]


def test_half_precision_inside_float32_logits_outside():
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        half = network(1, num_classes=3)
        out = half(IMAGES, training=True)
    finally:
        tf.keras.mixed_precision.set_global_policy("float32")
    assert out["features"][0].dtype == tf.bfloat16 and out["logits"].dtype == tf.float32
    assert all(v.dtype == tf.float32 for v in half.variables)
