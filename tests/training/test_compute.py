"""What computes a step does not change what it is: XLA or not, views in the input pipeline or in the step, precision, steps at a time."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny
from networks import BATCH, PLAIN

import tf_simclr
from tf_simclr import durable
from tf_simclr.config import Config, FinetuneConfig, PretrainConfig, replace
from tf_simclr.data import from_arrays
from tf_simclr.data.pipeline import training_batches
from tf_simclr.errors import UsageError
from tf_simclr.models.layers import BatchNorm
from tf_simclr.objectives.memory import Memory
from tf_simclr.stages import setup
from tf_simclr.training.callbacks import LossIsNaN, StopAtNaN
from tf_simclr.training.fit import prepare
from tf_simclr.training.models import ContrastiveModel, DistillationModel, SupervisedModel

pytestmark = pytest.mark.usefixtures("short_resnet")

SPEC = dataclasses.replace(PLAIN, channels=3)
RULE = {"optimizer": "sgd", "learning_rate": 0.01, "lr_scaling": "none", "warmup": 0.0, "batch_size": BATCH}
PRETRAIN, FINETUNE = PretrainConfig(**RULE), FinetuneConfig(**RULE, augment="simclr")
KINDS = ("pretrain", "micro_batches_and_memory", "finetune", "distill")
CLASSES = 3


def trainer(kind, config):
    def network(head_layers, classes):
        return tiny.scattered_network(SPEC, head_layers, classes, config.precision)

    fit = FINETUNE if kind in ("finetune", "distill") else PRETRAIN
    if kind == "pretrain":
        model = ContrastiveModel(network(2, 0), 0.5)
    elif kind == "micro_batches_and_memory":
        online = network(2, 0)
        model = ContrastiveModel(online, 0.5, 4, Memory(network(2, 0), online, 0.9, 2 * BATCH))
    elif kind == "finetune":
        model = SupervisedModel(network(1, CLASSES))
    else:
        model = DistillationModel(network(1, CLASSES), network(1, CLASSES), 2.0, 0.4)
    prepare(model, fit, 10, config)
    return model


def batch_of(kind, on_device):
    random = np.random.default_rng(0)
    source = from_arrays(random.integers(0, 256, [BATCH, 10, 9, 3], np.uint8), np.arange(BATCH) % CLASSES).train
    policy = FINETUNE if kind in ("finetune", "distill") else PRETRAIN
    settings = {"spec": SPEC, "seed": 1, "batch_size": BATCH, "start": 0, "stop": 1, "view_count": 1 if policy is FINETUNE else 2}
    (batch,) = training_batches(source, policy=policy, on_device=on_device, **settings)
    return {"labelled": batch, "unlabelled": batch} if kind == "distill" else batch


def after_a_step(kind, on_device=False, **settings):
    """(scalars, weights and moving statistics) after one step, eager unless it is compiled."""
    model = trainer(kind, replace(Config(), **settings))
    step = tf.function(model.train_step, jit_compile=True, autograph=False) if settings.get("jit") else model.train_step
    scalars = step(batch_of(kind, on_device))
    return {name: float(value) for name, value in scalars.items()}, [v.numpy() for v in model.network.variables]


@pytest.mark.parametrize("kind", KINDS)
def test_a_compiled_step_with_its_views_agrees_with_the_eager_one(kind):
    scalars, weights = after_a_step(kind, on_device=True, jit=True)
    expected_scalars, expected = after_a_step(kind)
    assert scalars == pytest.approx(expected_scalars, rel=1e-4, abs=1e-4)
    for ours, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["pretrain", "distill"])
def test_views_are_the_same_wherever_they_are_made(kind):
    model, batch = trainer(kind, Config()), batch_of(kind, on_device=True)
    made = tf.nest.flatten(model._completed(batch))
    for ours, theirs in zip(made, tf.nest.flatten(batch_of(kind, on_device=False)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_mixed_step_keeps_float32_where_it_must():
    scalars, weights = after_a_step("pretrain", precision="mixed_bfloat16")
    expected_scalars, expected = after_a_step("pretrain")
    assert scalars["loss"] == pytest.approx(expected_scalars["loss"], rel=0.05)
    assert all(ours.dtype == np.float32 for ours in weights)
    assert any(np.any(ours != theirs) for ours, theirs in zip(weights, expected))
    model = trainer("pretrain", replace(Config(), precision="mixed_bfloat16"))
    norms = [layer for layer in model.network.submodules if isinstance(layer, BatchNorm)]
    assert {layer.compute_dtype for layer in norms} == {"bfloat16"} and {layer.moving_mean.dtype for layer in norms} == {tf.float32}
    assert tf.keras.mixed_precision.global_policy().name == "float32"  # nothing of it is left to others


def float16_model(scale):
    model = trainer("finetune", replace(Config(), precision="mixed_float16"))
    model.optimizer._loss_scale._current_loss_scale.assign(scale)
    return model


def weights_of(model):
    return [v.numpy() for v in model.network.trainable_variables]


def test_a_gradient_too_large_for_float16_is_left_out_and_scaled_less():
    model = float16_model(2.0**60)
    before = weights_of(model)
    scalars = model.train_step(batch_of("finetune", on_device=False))
    assert np.isfinite(scalars["loss"]) and scalars["loss_scale"] == 2.0**60
    assert all(np.array_equal(a, b) for a, b in zip(before, weights_of(model)))
    assert model.optimizer.loss_scale == 2.0**59 and model.optimizer.iterations == 1  # a step of the run, though not of the weights


def test_a_scaled_step_is_the_step():
    model = float16_model(2.0**8)
    model.train_step(batch_of("finetune", on_device=False))
    _, expected = after_a_step("finetune")
    before = weights_of(float16_model(1.0))
    expected = [w for w, v in zip(expected, model.network.variables) if v.trainable]
    moved, wanted = (np.concatenate([(a - b).ravel() for a, b in zip(after, before)]) for after in (weights_of(model), expected))
    assert np.linalg.norm(moved - wanted) < 0.02 * np.linalg.norm(wanted)


@pytest.mark.parametrize("settings", [{"precision": "mixed_float16"}, {"jit": True}], ids=["float16 at scale 1", "compiled"])
def test_what_is_not_finite_shows_in_the_loss(settings, monkeypatch):
    model = float16_model(1.0) if "precision" in settings else trainer("finetune", replace(Config(), **settings))
    real = model.differentiate

    def spoilt(batch):
        scalars, gradients = real(batch)
        return scalars, [gradients[0] * float("inf"), *gradients[1:]]

    monkeypatch.setattr(model, "differentiate", spoilt)
    step = tf.function(model.train_step, jit_compile=bool(settings.get("jit")), autograph=False)
    assert np.isnan(step(batch_of("finetune", on_device=False))["loss"])


def test_a_loss_that_is_not_finite_stops_before_anything_is_saved():
    saved = []
    stop = StopAtNaN()
    stop.on_train_batch_end(0, {"loss": tf.constant(1.0)})
    with pytest.raises(LossIsNaN):
        tf.keras.callbacks.CallbackList([stop, tf.keras.callbacks.LambdaCallback(on_train_batch_end=saved.append)]).on_train_batch_end(
            0, {"loss": tf.constant(float("nan"))}
        )
    assert not saved


def test_steps_per_execution_changes_nothing_and_a_run_resumes(tmp_path):
    def weights(name, **changes):
        config = tiny.settings("pretrain", tmp_path / name, pretrain__epochs=4.0, pretrain__probe_every=0.0, checkpoint_every=4, **changes)
        tf_simclr.run(config, tiny.data())
        return [v.numpy() for v in setup.load_network(setup.RunDirectory(tmp_path / name)).variables]

    plain, five = weights("plain"), weights("five", steps_per_execution=5)
    # Twelve steps are executed as 5, 5 and 2; the step after which a checkpoint is due lies inside of an execution.
    checkpoints = tmp_path / "five" / "checkpoints"
    assert [path.name for path in durable.sealed_below(checkpoints)] == ["step-00000010", "step-00000012"]
    assert all(np.array_equal(a, b) for a, b in zip(plain, five))
    durable.remove(checkpoints / "step-00000012")
    (tmp_path / "five" / "done.json").unlink()
    assert all(np.array_equal(a, b) for a, b in zip(plain, weights("five", steps_per_execution=5)))


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"precision": "mixed_float16", "finetune__optimizer": "lamb"}, "finetune_optimizer=lamb"),
        ({"augment_on": "device", "jit": True, "finetune__augment": "randaugment"}, "give --augment_on=host"),
        ({"precision": "bfloat16"}, "precision must be one of float32, mixed_bfloat16, mixed_float16"),
        ({"steps_per_execution": 0}, "steps_per_execution must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        replace(Config(), **settings)


def test_compiled_steps_are_those_of_one_replica(tmp_path):
    with pytest.raises(UsageError, match="--jit compiles the step of one replica, got 2"):
        tf_simclr.run(tiny.settings("pretrain", tmp_path / "run", jit=True, strategy="mirrored"), tiny.data())
