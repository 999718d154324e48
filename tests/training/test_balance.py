import numpy as np
import tiny
from scipy.special import softmax

from tf_simclr.config import ModelConfig
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extract
from tf_simclr.training.balance import balance, balancing_shift

RANDOM = np.random.default_rng(0)


def test_every_class_is_answered_as_often():
    logits = RANDOM.normal(size=(500, 4)) * [1, 2, 3, 4] + [5, 0, -1, -3]
    assert np.ptp(softmax(logits, axis=1).mean(0)) > 0.5
    np.testing.assert_allclose(softmax(logits + balancing_shift(logits), axis=1).mean(0), 0.25, atol=1e-4)


def test_a_shift_of_balanced_answers_is_found_and_no_other():
    """Answers that are all turns of one another are balanced."""
    answers = RANDOM.normal(size=(50, 3))
    turns = np.concatenate([np.roll(answers, turn, axis=1) for turn in range(3)])
    np.testing.assert_allclose(balancing_shift(turns), 0, atol=1e-12)
    np.testing.assert_allclose(balancing_shift(turns + [3.0, -1.0, -2.0]), [-3.0, 1.0, 2.0], atol=1e-3)
    np.testing.assert_allclose(balancing_shift(turns + 100.0), 0, atol=1e-9)  # which changes no probability


def test_a_class_that_is_never_answered_leaves_numbers():
    assert np.isfinite(balancing_shift(np.full((10, 3), [0.0, 0.0, -1e6]))).all()


def test_a_network_is_balanced_by_its_biases_alone():
    spec = ModelConfig(depth=10, width=0.0625, stem="cifar2", head_dim=16, image_size=16, channels=1)
    network, source = tiny.scattered_network(spec, head_layers=1), tiny.data().train
    network.classifier.bias.assign([2.0, 0.0, -1.0])
    before = network.get_weights()

    def shares():
        return softmax(extract(network, plain_batches(source, spec=spec, batch_size=40))["logits"], axis=1).mean(0)

    assert np.ptp(shares()) > 0.3
    balance(network, source, batch_size=40)
    np.testing.assert_allclose(shares(), 1 / 3, atol=1e-3)
    changed = [v.name for v, old in zip(network.weights, before) if np.any(v.numpy() != old)]
    assert changed == [network.classifier.bias.name]
