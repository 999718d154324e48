"""Extraction equals the network's own inference, batch by batch."""

import numpy as np
import tensorflow as tf

from tf_simclr.config import ModelConfig
from tf_simclr.evaluation.features import extract
from tf_simclr.models.network import Network

SPEC = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=8, channels=1, head_width=6)


def test_ragged_batches_in_order():
    images = np.random.default_rng(0).random([10, 8, 8, 1], np.float32)
    network = Network(SPEC, 2, 3).build_variables()
    # Statistics unlike those of the batch, or training mode would go unnoticed.
    for i, v in enumerate(network.variables):
        low, high = (0.1, 0.5) if "moving_variance" in v.name else (-0.3, 0.3)
        kept = 0.0 if "moving" in v.name else v
        v.assign(kept + tf.random.stateless_uniform(v.shape, [i, 7], low, high))
    found = extract(network, tf.data.Dataset.from_tensor_slices(images).batch(4))
    expected = network(images, training=False)
    assert [f.shape for f in found["features"]] == [(10, 32), (10, 6), (10, 6)]
    assert all(f.dtype == np.float32 for f in found["features"])
    for a, b in zip(found["features"], expected["features"]):
        assert np.ptp(b, axis=0).max() > 1e-2, "all images alike: the order could not be wrong"
        np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)


def test_no_classifier_no_logits():
    found = extract(Network(SPEC, 0).build_variables(), [np.zeros([2, 8, 8, 1], np.float32)])
    assert set(found) == {"features"} and len(found["features"]) == 1
