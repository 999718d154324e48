import collections
import json

import numpy as np
import oracles
import pytest
import tensorflow as tf
import tiny
from networks import BATCH, PLAIN, halves, images

import tf_simclr
from tf_simclr.config import FitConfig
from tf_simclr.errors import Interrupted
from tf_simclr.objectives.memory import EMPTY, Memory
from tf_simclr.optimizers.build import build
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import setup
from tf_simclr.training.callbacks import SaveEvery
from tf_simclr.training.models import ContrastiveModel

pytestmark = pytest.mark.usefixtures("short_resnet")

TEMPERATURE, DECAY, SIZE = 0.5, 0.9, 50  # neither a multiple of a batch's 32 projections nor less than them


def network(factor=1.0):
    made = tiny.scattered_network(PLAIN, head_layers=2, classes=0)
    made.set_weights([factor * w for w in made.get_weights()])
    return made


def model_of(size=SIZE, micro_batch_size=0):
    online = network()
    model = ContrastiveModel(online, TEMPERATURE, micro_batch_size, Memory(network(2), online, DECAY, size))
    optimizer = build(online, FitConfig(optimizer="sgd", learning_rate=0.01, lr_scaling="none", warmup=0.0), total_steps=10)
    optimizer.build(online.trainable_variables)
    model.compile(optimizer=optimizer)
    return model


def batch(step, images_in_all=24):
    """From the second step on some images come again."""
    rng = np.random.default_rng(step)
    example = (np.arange(BATCH) + step * BATCH) % images_in_all
    return {"views": (images(rng), images(rng)), "example": example.astype(np.int64)}


def unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", [4, 10, 12, 15, 40])
def test_the_queue_holds_the_newest_in_order(size):
    """Filled, wrapped around at and between the ends of batches, and smaller than a batch: as a deque of that length."""
    memory = Memory(network(), network(), DECAY, size)
    expected = collections.deque(maxlen=size)
    rng = np.random.default_rng(0)
    for step in range(8):
        z, examples = rng.normal(size=(2, 3, PLAIN.head_dim)).astype(np.float32), np.arange(3, dtype=np.int64) + 3 * step
        memory.enqueue(*z, examples)
        for view in z:
            expected.extend(zip(unit(view), examples))
        empty = size - len(expected)
        assert (memory.examples.numpy()[:empty] == EMPTY).all()
        assert memory.examples.numpy()[empty:].tolist() == [example for _, example in expected]
        np.testing.assert_allclose(memory.projections[empty:], [z for z, _ in expected], rtol=1e-5)


def test_empty_slots_and_an_images_own_projections_are_not_met():
    memory = Memory(network(), network(), DECAY, 6)
    z = np.ones([2, 2, PLAIN.head_dim], np.float32)
    assert not memory.negatives(tf.constant([7, 8], tf.int64))[1].numpy().any()
    memory.enqueue(*z, np.array([7, 9]))
    _, allowed = memory.negatives(tf.constant([7, 8], tf.int64))
    np.testing.assert_array_equal(allowed, [[0, 0, 0, 1, 0, 1], [0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize("decay", [0.0, 0.75])
def test_the_average_follows_the_trained_weights(decay):
    online, start = network(2.0), network()
    memory = Memory(network(3.0), start, decay, 4)
    for average, variable in zip(memory.network.variables, start.variables, strict=True):
        np.testing.assert_array_equal(average, variable)
    memory.follow(online)
    memory.follow(online)
    kept = decay**2
    for average, first, last in zip(memory.network.trainable_variables, start.trainable_variables, online.trainable_variables):
        np.testing.assert_allclose(average, kept * first + (1 - kept) * last, rtol=1e-5, atol=1e-7)
    for average, first in zip(memory.network.non_trainable_variables, start.non_trainable_variables):
        np.testing.assert_array_equal(average, first)


@pytest.mark.parametrize("micro_batch_size", [0, 4])
def test_steps_equal_the_loops(micro_batch_size):
    """The step's loss is that of the loops over the projections that an average network, kept by hand, gives now and gave before."""
    model, average = model_of(micro_batch_size=micro_batch_size), network()
    twin = network()  # goes through the training-mode forward passes without touching the model's moving statistics
    queue = collections.deque(maxlen=SIZE)

    def project(of, views):
        size = micro_batch_size or BATCH
        parts = [of(tf.concat([v[i : i + size] for v in views], 0), training=True)["features"][-1].numpy() for i in range(0, BATCH, size)]
        return np.concatenate([p[:size] for p in parts]).astype(float), np.concatenate([p[size:] for p in parts]).astype(float)

    for number in range(3):
        given = batch(number)
        twin.set_weights(model.network.get_weights())
        model.reset_metrics()
        scalars = model.train_step(tf.nest.map_structure(tf.constant, given))

        def met(image, example=given["example"]):
            return [z for z, whose in queue if whose != example[image]]

        keys = project(average, given["views"])
        if number == 2:  # the loops take their time
            views = project(twin, given["views"])
            expected = [oracles.nt_xent(*views, TEMPERATURE), oracles.nt_xent(*views, TEMPERATURE, met, keys)]
            assert abs(expected[0] - expected[1]) > 0.01
            assert float(scalars["loss"]) == pytest.approx(float(sum(expected)) / 2, rel=1e-5)
        chance = np.mean([[np.log(2 * BATCH - 1 + further) for further in (0, len(met(i)))] for i in range(BATCH)])
        assert float(scalars["chance_loss"]) == pytest.approx(chance, rel=1e-6)
        for a, v in zip(average.trainable_variables, model.network.trainable_variables):
            a.assign(DECAY * a + (1 - DECAY) * v)
        for z in keys:
            queue.extend(zip(unit(z), given["example"]))
    assert any(len(met(i)) < len(queue) for i in range(BATCH))
    for ours, theirs in zip(model.memory.network.variables, average.variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.memory.projections, [z for z, _ in queue], atol=1e-4)


@pytest.mark.parametrize("micro_batch_size", [0, 4])
def test_two_replicas_equal_one_and_hold_the_same(micro_batch_size, two_replicas):
    with two_replicas.scope():
        model = model_of(micro_batch_size=micro_batch_size)
    alone = model_of(micro_batch_size=micro_batch_size)
    distributed = tf.function(lambda batch: two_replicas.run(model.train_step, (batch,)))
    for number in range(2):
        scalars = distributed(halves(two_replicas, batch(number)))
        expected = alone.train_step(tf.nest.map_structure(tf.constant, batch(number)))
        for name in ("loss", "chance_loss"):
            np.testing.assert_allclose(scalars[name], expected[name], rtol=1e-5)
    pairs = [(model.memory.projections, alone.memory.projections), (model.memory.examples, alone.memory.examples)]
    for ours, theirs in (model.network, alone.network), (model.memory.network, alone.memory.network):
        pairs += zip(ours.trainable_variables, theirs.trainable_variables)
    for ours, theirs in pairs:
        first, second = two_replicas.experimental_local_results(ours)
        np.testing.assert_array_equal(first, second, err_msg=ours.name)
        np.testing.assert_allclose(first, theirs, rtol=1e-4, atol=1e-4)


def test_a_resumed_run_is_the_same_and_later_stages_leave_the_memory_behind(tmp_path, monkeypatch, caplog):
    def settings(name):
        short = {"pretrain__steps": 6, "pretrain__probe_every": 0.0, "checkpoint_every": 3, "keep_checkpoints": 2}
        return tiny.settings("pretrain", tmp_path / name, pretrain__queue=150, pretrain__micro_batch_size=8, **short)

    tf_simclr.run(settings("whole"), tiny.data())
    real = SaveEvery.on_train_batch_end

    def stop(self, batch, logs=None):
        real(self, batch, logs)
        if self.step == 4:
            raise Interrupted("SIGTERM")

    with monkeypatch.context() as patched:
        patched.setattr(SaveEvery, "on_train_batch_end", stop)
        with pytest.raises(Interrupted):
            tf_simclr.run(settings("broken"), tiny.data())
    tf_simclr.run(settings("broken"), tiny.data())
    states = [tf.train.load_checkpoint(str(tmp_path / name / "checkpoints" / "step-00000006" / "state")) for name in ("whole", "broken")]
    keys = set(states[0].get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert {key.split("/")[1] for key in keys if key.startswith("memory/")} == {"network", "projections", "examples"}
    for key in keys:
        np.testing.assert_array_equal(states[0].get_tensor(key), states[1].get_tensor(key), err_msg=key)
    examples = states[0].get_tensor("memory/examples/.ATTRIBUTES/VARIABLE_VALUE")
    assert (examples != EMPTY).all()
    row = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])
    assert np.log(63) < row["chance_loss"] < np.log(63 + 150)

    with caplog.at_level("INFO", logger="absl"):
        later = setup.load_network(RunDirectory(tmp_path / "whole"))
    assert "left behind (memory " in caplog.text
    online = states[0].get_tensor("network/encoder/stem/convs/0/conv/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    average = states[0].get_tensor("memory/network/encoder/stem/convs/0/conv/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE")
    assert not np.array_equal(online, average)
    np.testing.assert_array_equal(later.encoder.stem.convs[0].conv.conv.kernel, online)
