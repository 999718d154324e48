import time

import numpy as np
import oracles
import pytest
import tensorflow as tf
from networks import BATCH, SPEC, halves, images

from tf_simclr.config import FitConfig
from tf_simclr.models.network import Network
from tf_simclr.optimizers.build import build
from tf_simclr.training.models import ContrastiveModel, DistillationModel, SupervisedModel

pytestmark = pytest.mark.usefixtures("short_resnet")

CLASSES, STEPS, RATE = 3, 3, 0.01
KINDS = ("contrastive", "supervised", "distillation")


def scrambled(network, seed):
    """Random values, so that no branch or classifier starts at zero; large ones, as gradients before a BatchNorm go as their inverse."""
    rng = np.random.default_rng(seed)
    for v in network.variables:
        v.assign(rng.normal(0, 0.6, v.shape) if v.shape.rank > 1 else rng.uniform(0.5, 1.5, v.shape))
    return network


def trainer(kind, alpha=0.4, weight_decay=0.0, steps_per_execution=1):
    network = scrambled(Network(SPEC, 2 if kind == "contrastive" else 1, 0 if kind == "contrastive" else CLASSES).build_variables(), 1)
    if kind == "contrastive":
        model = ContrastiveModel(network, temperature=0.5)
    elif kind == "supervised":
        model = SupervisedModel(network)
    else:
        teacher = scrambled(Network(SPEC, 1, CLASSES).build_variables(), 2)
        model = DistillationModel(network, teacher, temperature=2.0, alpha=alpha)
    # Plain momentum shows the gradients as they are; LARS is what the recipes use.
    rule = "sgd" if kind == "contrastive" else "lars"
    fit = FitConfig(optimizer=rule, learning_rate=RATE, lr_scaling="none", warmup=0.0, weight_decay=weight_decay)
    optimizer = build(network, fit, total_steps=10)
    optimizer.build(network.trainable_variables)
    model.compile(optimizer=optimizer, steps_per_execution=steps_per_execution)
    return model


def batch(kind, seed):
    rng = np.random.default_rng(seed)
    labelled = {"views": (images(rng),), "label": rng.integers(0, CLASSES, BATCH)}
    if kind == "contrastive":
        return {"views": (images(rng), images(rng))}
    return labelled if kind == "supervised" else {"labelled": labelled, "unlabelled": {"views": (images(rng),)}}


def three_steps(model, step):
    """[(loss, weights with moving statistics, momentum over rate)] of every step; the first momentum is the gradient (LARS: scaled)."""
    kind = {ContrastiveModel: "contrastive", SupervisedModel: "supervised", DistillationModel: "distillation"}[type(model)]
    history = []
    for seed in range(STEPS):
        model.reset_metrics()
        scalars = step(batch(kind, seed))
        momentum = [m.numpy() / RATE for m in model.optimizer.momentums]
        history.append((float(scalars["loss"]), [v.numpy() for v in model.network.variables], momentum))
    return history


def assert_same(history, expected):
    for (loss, weights, _), (expected_loss, expected_weights, _) in zip(history, expected):
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-5, atol=1e-5)
        for ours, theirs in zip(weights, expected_weights):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    # Of the largest element, 2.7 with NT-Xent: what sums in another order make of a small one follows from the large ones.
    ours, theirs = (np.concatenate([gradient.ravel() for gradient in steps[0][2]]) for steps in (history, expected))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(theirs).max()))


def compiled(model):
    step = tf.function(model.train_step)
    return lambda batch: step(tf.nest.map_structure(tf.constant, batch))


@pytest.fixture(scope="module")
def one_replica():
    """What each objective does on one replica, in a graph; made when first asked for."""
    histories = {}

    def of(kind):
        if kind not in histories:
            model = trainer(kind)
            histories[kind] = three_steps(model, compiled(model))
        return histories[kind]

    return of


@pytest.mark.parametrize("kind", KINDS)
def test_eager_equals_graph(kind, one_replica):
    model = trainer(kind)
    assert_same(three_steps(model, lambda batch: model.train_step(tf.nest.map_structure(tf.constant, batch))), one_replica(kind))


@pytest.mark.parametrize("kind", [pytest.param("contrastive", marks=pytest.mark.smoke), "supervised", "distillation"])
def test_two_replicas_equal_one(kind, one_replica, two_replicas):
    with two_replicas.scope():
        model = trainer(kind)

    @tf.function
    def distributed(batch):
        return two_replicas.run(model.train_step, (batch,))

    assert_same(three_steps(model, lambda batch: distributed(halves(two_replicas, batch))), one_replica(kind))
    for v in model.network.variables:
        first, second = two_replicas.experimental_local_results(v)
        np.testing.assert_array_equal(first, second, err_msg=v.name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_moves_every_weight(kind, one_replica):
    model = trainer(kind)
    for before, after in zip(model.network.variables, one_replica(kind)[0][1]):
        assert np.any(before.numpy() != after), before.name


def test_scalars_of_pretraining():
    model = trainer("contrastive")
    scalars = model.train_step(tf.nest.map_structure(tf.constant, batch("contrastive", 0)))
    assert set(scalars) == {"loss", "chance_loss", "contrastive_top1", "z_std", "h_std"}
    assert scalars["h_std"] > 0


@pytest.mark.parametrize("together", [1, 2], ids="{} steps an execution".format)
def test_the_wait_for_a_slow_pipeline_is_told(together):
    """Of four steps, every batch of which takes a fifth of a second to make, part of it while a step is made."""
    model = trainer("supervised", steps_per_execution=together)

    def slowly(number):
        time.sleep(0.2)
        return number

    given = tf.nest.map_structure(tf.constant, batch("supervised", 0))
    slow = tf.data.Dataset.range(4).map(lambda i: {**given, "position": tf.numpy_function(slowly, [i], tf.int64)})
    history = model.fit(slow, steps_per_epoch=4, verbose=0).history
    assert 0.1 <= history["wait"][0] < 2.0
    assert int(model.optimizer.iterations) == 4


def test_pretraining_pairs_the_views_of_one_image():
    model = trainer("contrastive")
    first, second = batch("contrastive", 0)["views"]
    z = model.network(tf.concat([first, second], 0), training=True)["features"][-1]
    z = tf.cast(z, tf.float64)
    loss = model.objective({"views": (tf.constant(first), tf.constant(second))})["loss"]
    np.testing.assert_allclose(loss, oracles.nt_xent(z[:BATCH], z[BATCH:], 0.5), rtol=1e-5)


def test_supervised_loss_and_accuracy():
    model, data = trainer("supervised"), batch("supervised", 0)
    logits = model.network(data["views"][0], training=True)["logits"].numpy()
    scalars = model.train_step(tf.nest.map_structure(tf.constant, data))
    np.testing.assert_allclose(scalars["loss"], oracles.cross_entropy(data["label"], logits), rtol=1e-5)
    np.testing.assert_allclose(scalars["accuracy"], np.mean(logits.argmax(axis=1) == data["label"]))


def test_weight_decay_of_the_classifier_is_plain_l2():
    def kernel_after(weight_decay):
        model = trainer("supervised", weight_decay=weight_decay)
        before = model.network.classifier.kernel.numpy()
        model.train_step(tf.nest.map_structure(tf.constant, batch("supervised", 0)))
        return before, model.network.classifier.kernel.numpy()

    (before, with_decay), (_, without) = kernel_after(0.5), kernel_after(0.0)
    np.testing.assert_allclose(without - with_decay, RATE * 0.5 * before, atol=1e-6)  # rate times λ times kernel


@pytest.mark.parametrize("alpha, parts", [(0.0, ["labelled"]), (0.4, ["labelled", "unlabelled"]), (1.0, ["unlabelled"])])
def test_distillation_weighs_its_two_terms(alpha, parts):
    model, data = trainer("distillation", alpha), batch("distillation", 0)
    data = {part: data[part] for part in parts}
    views = [data[part]["views"][0] for part in ("unlabelled", "labelled") if part in parts]
    student = model.network(tf.concat(views, 0), training=True)["logits"].numpy()
    expected = 0.0
    if alpha > 0:
        taught = model.teacher(data["unlabelled"]["views"][0], training=False)["logits"].numpy()
        expected += alpha * oracles.distillation(taught, student[:BATCH], 2.0)
    if alpha < 1:
        expected += (1 - alpha) * oracles.cross_entropy(data["labelled"]["label"], student[-BATCH:])
    np.testing.assert_allclose(model.objective(tf.nest.map_structure(tf.constant, data))["loss"], expected, rtol=1e-5)


def test_the_teacher_stays_as_it_is():
    model = trainer("distillation", alpha=1.0)
    before = [v.numpy() for v in model.teacher.variables]
    data = tf.nest.map_structure(tf.constant, {"unlabelled": batch("distillation", 0)["unlabelled"]})
    with tf.GradientTape() as tape:
        tape.watch(model.teacher.variables)
        loss = model.objective(data)["loss"]
    assert all(g is None for g in tape.gradient(loss, model.teacher.variables))
    model.train_step(data)
    for v, old in zip(model.teacher.variables, before):
        np.testing.assert_array_equal(v, old, err_msg=v.name)
    assert not {v.ref() for v in model.trainable_variables} & {v.ref() for v in model.teacher.variables}
