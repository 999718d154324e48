import numpy as np
import tiny
from scipy.special import softmax

from tf_simclr.config import ModelConfig
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.evaluation.features import extract
from tf_simclr.training.balance import balance, balancing_shift

RANDOM = np.random.default_rng(0)
SPEC = ModelConfig(depth=10, width=0.0625, stem="cifar2", head_dim=16, image_size=16, channels=1)


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


def uneven_network():
    network = tiny.scattered_network(SPEC, head_layers=1)
    network.classifier.bias.assign([2.0, 0.0, -1.0])
    return network


def test_a_network_is_balanced_by_its_biases_alone():
    network, source = uneven_network(), tiny.data().train
    before = network.get_weights()

    def shares():
        return softmax(extract(network, plain_batches(source, spec=SPEC, batch_size=40))["logits"], axis=1).mean(0)

    assert np.ptp(shares()) > 0.3
    balance(network, source, batch_size=40)
    np.testing.assert_allclose(shares(), 1 / 3, atol=1e-3)
    changed = [v.name for v, old in zip(network.weights, before) if np.any(v.numpy() != old)]
    assert changed == [network.classifier.bias.name]


def test_every_replica_has_the_balanced_biases(two_replicas, short_resnet):
    alone = uneven_network()
    with two_replicas.scope():
        network = uneven_network()
        balance(network, tiny.data().train, batch_size=40)
    balance(alone, tiny.data().train, batch_size=40)
    assert np.abs(alone.classifier.bias - [2.0, 0.0, -1.0]).max() > 0.3
    for bias in two_replicas.experimental_local_results(network.classifier.bias):
        np.testing.assert_allclose(bias, alone.classifier.bias, atol=1e-6)
