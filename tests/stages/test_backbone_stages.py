"""The stages with an encoder that is not our ResNet: a Keras model of one's own, registered by name."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.config import replace
from tf_simclr.errors import UsageError
from tf_simclr.models import backbones
from tf_simclr.run_directory import RunDirectory


def make(input_shape):
    images = tf.keras.Input(input_shape)
    x = tf.keras.layers.Conv2D(8, 3, strides=4)(images)
    return tf.keras.Model(images, tf.keras.layers.BatchNormalization(momentum=0.9)(x))


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(backbones, "_registered", {})
    tf_simclr.register_backbone("own", make)


def settings(stage, run_dir, **changes):
    ours = {"model__depth": 18, "model__width": 1.0, "model__stem": "auto"}  # back to the defaults: another backbone has none of them
    short = {f"{section}__steps": 3 for section in ("pretrain", "finetune", "student", "distill")}
    return tiny.settings(stage, run_dir, **(ours | short | {"pretrain__probe_every": 0.0} | changes))


def test_every_stage_finds_a_registered_backbone_by_its_name(tmp_path, monkeypatch, short_resnet):
    data = tiny.data()
    own = {"model__backbone": "own"}
    tf_simclr.run(settings("pretrain", tmp_path / "pre", **own), data)
    assert RunDirectory(tmp_path / "pre").spec().backbone == "own"
    tf_simclr.run(settings("finetune", tmp_path / "fine", from_run=str(tmp_path / "pre")), data)
    tf_simclr.run(settings("distill", tmp_path / "self", from_run=str(tmp_path / "fine")), data)
    export = tf_simclr.run(settings("export", "", from_run=str(tmp_path / "self")))["directory"]
    images = np.random.default_rng(0).uniform(size=[2, 16, 16, 1]).astype("f")
    served = tf.saved_model.load(export).signatures["serving_default"](images=tf.constant(images))
    monkeypatch.setattr(backbones, "_registered", {})
    with pytest.raises(UsageError, match=r"tf_simclr.register_backbone\('own', make\) first"):
        tf_simclr.run(settings("finetune", tmp_path / "late", from_run=str(tmp_path / "pre")), data)
    assert not (tmp_path / "late").exists()
    tf_simclr.register_backbone("own", make)
    network = tf_simclr.stages.setup.load_network(RunDirectory(tmp_path / "self"))
    np.testing.assert_allclose(served["logits"], network(images)["logits"], atol=1e-5)


def test_a_student_may_have_another_backbone_than_its_teacher(tmp_path, short_resnet):
    data = tiny.data()
    tf_simclr.run(tiny.settings("finetune", tmp_path / "fine", supervised__steps=2), data)
    student = replace(
        tiny.settings("distill", tmp_path / "student", from_run=str(tmp_path / "fine")), student__backbone="own", student__backbone_size=24
    )
    with pytest.raises(UsageError, match="got keras_cv:resnet81; near: resnet18"):
        tf_simclr.run(replace(student, student__backbone="keras_cv:resnet81"), data)
    result = tf_simclr.run(replace(student, student__steps=2), data)
    spec = RunDirectory(tmp_path / "student").spec()
    assert (spec.backbone, spec.backbone_size, spec.depth, spec.width, spec.stem) == ("own", 24, 18, 1.0, "auto")
    assert spec.image_size == 16 and result["parameters"] == (9 * 8 + 8) + 4 * 8 + (8 * 3 + 3)


def test_a_setting_of_our_resnet_is_refused_beside_a_run_of_another_backbone(tmp_path):
    data = tiny.data()
    tf_simclr.run(settings("pretrain", tmp_path / "pre", model__backbone="own"), data)
    late = settings("finetune", tmp_path / "late", from_run=str(tmp_path / "pre"))
    for changes in ({"model__width": 0.5}, {"model__backbone": "keras_cv:resnet18"}):
        with pytest.raises(
            UsageError, match="--width describes our ResNet.*got 0.5|--backbone must be that of .*own, got keras_cv:resnet18"
        ):
            tf_simclr.run(replace(late, **changes), data)
