"""`--stage=plan` against counts by hand and published numbers."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.cli import main, parse
from tf_simclr.config import Config, ModelConfig, PretrainConfig, replace
from tf_simclr.errors import UsageError
from tf_simclr.models.network import Network
from tf_simclr.planning.accelerators import ACCELERATORS
from tf_simclr.planning.cost import network_cost
from tf_simclr.planning.plan import on_accelerator, on_machine, plan_training
from tf_simclr.planning.recipe import Problem, pretraining, trainings
from tf_simclr.stages import plan as plan_stage

SMALL = ModelConfig(depth=10, width=0.125, stem="cifar2", image_size=16, channels=3, head_layers=2, head_dim=5)


def test_flops_of_a_small_resnet_by_hand():
    def conv(side, kernel, before, after):
        return 2 * side * side * kernel * kernel * before * after

    expected = conv(8, 3, 3, 8)  # the stem, of stride 2
    for side, before, after in ((8, 8, 8), (4, 8, 16), (2, 16, 32), (1, 32, 64)):
        expected += conv(side, 1, before, after)  # shortcut
        expected += conv(side, 3, before, after) + conv(side, 3, after, after)
    head = 2 * 64 * 64 + 2 * 64 * 5
    assert network_cost(SMALL, 2).flops == expected + head
    assert network_cost(SMALL, 1, num_classes=7).flops == expected + 2 * 64 * 64 + 2 * 64 * 7


def test_resnet_50_takes_the_known_multiply_adds():
    """4.1 billion (He et al. 2016 count 3.8 with the stride in the first 1×1; in the 3×3 it is 4.1)."""
    spec = ModelConfig(depth=50, stem="imagenet", image_size=224, channels=3)
    assert network_cost(spec, 0, 1000).flops == pytest.approx(8.2e9, rel=0.01)


@pytest.mark.parametrize(
    "depth, width, sk, millions",
    [(50, 1, False, 24), (50, 1, True, 35), (50, 2, False, 94), (50, 2, True, 140), (101, 1, False, 43), (101, 1, True, 65)]
    + [(101, 2, False, 170), (101, 2, True, 257), (152, 1, False, 58), (152, 1, True, 89), (152, 2, False, 233), (152, 2, True, 354)]
    + [(152, 3, True, 795)],
)
def test_parameters_of_the_papers_table(depth, width, sk, millions):
    spec = ModelConfig(depth=depth, width=float(width), sk=sk, stem="imagenet", image_size=224, channels=3)
    assert round(network_cost(spec, 0).parameters / 1e6) == millions


@pytest.mark.parametrize("depth, sk", [(10, False), (18, False), (34, True), (50, True)])
def test_the_cost_is_that_of_the_whole_network(depth, sk):
    spec = dataclasses.replace(SMALL, depth=depth, sk=sk, width=0.125)
    cost = network_cost(spec, 2, 3)
    network = Network(spec, 2, 3).build_variables()
    assert cost.parameters == sum(v.shape.num_elements() for v in network.variables)
    assert cost.trainable == sum(v.shape.num_elements() for v in network.trainable_variables)
    step = tf.function(lambda images: network(images, training=True)).get_concrete_function(tf.TensorSpec([1, 16, 16, 3]))
    products = [op for op in step.graph.get_operations() if op.type in ("Conv2D", "MatMul")]  # all with weights as second input
    assert cost.flops == sum(2 * op.outputs[0].shape.num_elements() * op.inputs[1].shape[:-1].num_elements() for op in products)


def test_networks_of_before_can_be_called_afterwards():
    network = Network(SMALL, 2, 3).build_variables()
    images = tf.random.stateless_uniform([2, 16, 16, 3], [1, 2])
    before = network(images)["logits"]
    network_cost(SMALL, 2, 3)
    np.testing.assert_array_equal(network(images)["logits"], before)


def stated(**changes):
    return replace(Config(), **({"images": 1000, "classes": 10, "model__image_size": 32, "model__depth": 10} | changes))


def test_other_backbones_are_planned():
    name = "keras_cv:mobilenet_v3_small"
    config = stated(student__backbone=name, methods="supervised,student")
    plans = {training.name: plan_training(training) for training in trainings(config, Problem.of(config))}
    assert plans["student"]["network"].startswith(name) and plans["supervised"]["network"].startswith("ResNet-10")
    assert 0 < plans["student"]["forward_flops"] < plans["supervised"]["forward_flops"]


def test_a_pipeline_is_planned_in_the_order_that_it_runs():
    config = stated(data__label_fraction=0.1, student__width=0.5, methods="supervised,linear_eval,finetune,self_distill,student")
    plan = {t.name: t for t in trainings(config, Problem.of(config))}
    assert list(plan) == ["pretrain", "supervised", "finetune", "self_distill", "student"]
    assert plan["pretrain"].steps == round(100 * 1000 / 512)
    assert plan["finetune"].steps == round(60 * 100 / 256)
    assert plan["student"].spec.width == 0.5 and plan["student"].head_layers == plan["student"].teacher[1] == 1
    assert [t.name for t in trainings(config, Problem.of(replace(config, classes=0)))] == ["pretrain"]
    assert [t.name for t in trainings(stated(), Problem.of(stated()))][-1] == "self_distill"  # no student without an architecture


@pytest.mark.parametrize(
    "limit, labels", [({}, 1000), ({"labels_per_class": 3}, 30), ({"num_labels": 50}, 50), ({"label_fraction": 0.02}, 20)]
)
def test_labels_in_use(limit, labels):
    assert Problem.of(stated(**{f"data__{name}": value for name, value in limit.items()})).labels == labels


def test_images_without_a_label_are_planned_as_such():
    images, labels = tiny.images(96, 0)
    mixed = tf_simclr.from_arrays(images, np.where(np.arange(96) < 60, labels, -1))
    assert Problem.of(tiny.settings("plan", "", data__labels_per_class=0), mixed).labels == 60
    assert Problem.of(tiny.settings("plan", "", data__labels_per_class=30), mixed).labels == 60


def test_a_step_is_three_times_forward_for_every_view_and_once_for_the_teacher(short_resnet):
    config = stated(methods="finetune,self_distill")
    pretrain, finetune, distill = (plan_training(t) for t in trainings(config, Problem.of(config)))
    assert pretrain["step_flops"] == 6 * pretrain["forward_flops"]
    assert finetune["step_flops"] == 3 * finetune["forward_flops"]
    assert distill["step_flops"] == 3 * distill["forward_flops"] + finetune["forward_flops"]
    assert distill["fixed_bytes"] - finetune["fixed_bytes"] == 4 * finetune["parameters"]
    assert pretrain["image_bytes"] > 1.9 * finetune["image_bytes"]
    sgd, adamw = (
        plan_training(dataclasses.replace(trainings(config, Problem.of(config))[0], fit=PretrainConfig(optimizer=name)))
        for name in ("sgd", "adamw")
    )
    cost = network_cost(trainings(config, Problem.of(config))[0].spec, 3)
    assert adamw["fixed_bytes"] - sgd["fixed_bytes"] == 4 * cost.trainable
    assert sgd["fixed_bytes"] == 4 * cost.parameters + 8 * cost.trainable  # weights; gradients and momentum


ROW = {"name": "a", "step_flops": 10**9, "batch_size": 64, "steps": 1000, "fixed_bytes": 10**9, "image_bytes": 10**8}
ROW |= {"at_a_time": 0, "waiting_bytes": 0, "runs": 1}


def test_hours_and_memory_by_hand():
    machine = on_machine("m", [ROW, {**ROW, "name": "b", "batch_size": 8}], speed=1e12, memory=2e9, replicas=8)
    assert machine["hours"] == {"a": pytest.approx(64 / 3600), "b": pytest.approx(8 / 3600)}
    assert machine["total_hours"] == pytest.approx(72 / 3600)
    assert machine["replica_bytes"] == 10**9 + 8 * 10**8 and machine["fits"] and machine["largest_batch"] == 80
    assert not on_machine("m", [ROW], 1e12, memory=1.7e9, replicas=8)["fits"]
    thrice = on_machine("m", [{**ROW, "runs": 3}], speed=1e12, memory=2e9, replicas=8)
    assert thrice["hours"]["a"] == pytest.approx(3 * 64 / 3600)
    few = on_machine("m", [{**ROW, "at_a_time": 64, "waiting_bytes": 10**6}], 1e12, memory=2e9, replicas=8)
    assert few["fits"] and few["largest_batch"] > 64, "8 images of a replica pass at once, however large a micro-batch may be"
    # Of 512 images of a replica 4 pass at a time: 1 GB, 4 × 0.1 GB, and 1 MB for each; 0.6 GB have room for 600, of which 4 divides all.
    parts = on_machine("m", [{**ROW, "batch_size": 4096, "at_a_time": 4, "waiting_bytes": 10**6}], 1e12, memory=2e9, replicas=8)
    assert parts["replica_bytes"] == 10**9 + 4 * 10**8 + 512 * 10**6 and parts["fits"] and parts["largest_batch"] == 4800


def test_what_a_pipeline_runs_is_planned_for_every_label_seed():
    config = stated(methods="student", student__width=0.5, label_seeds="1,2,3")
    plan = {t.name: t.runs for t in trainings(config, Problem.of(config))}
    assert plan == {"pretrain": 1, "finetune": 3, "self_distill": 3, "student": 3}
    for methods, names in (("supervised", ["supervised"]), ("", ["pretrain"])):
        config = stated(methods=methods)
        assert [t.name for t in trainings(config, Problem.of(config))] == names


def test_memory_micro_batches_and_both_batches_of_a_distillation_are_counted(short_resnet):
    def pretrain(**changes):
        config = stated(**changes)
        return plan_training(pretraining(config, Problem.of(config)))

    def distill(alpha):
        config = stated(methods="self_distill", distill__alpha=alpha)
        return plan_training(trainings(config, Problem.of(config))[-1])

    plain, queue = pretrain(), pretrain(pretrain__queue=1000)
    assert queue["step_flops"] - plain["step_flops"] == 2 * plain["forward_flops"]
    assert queue["fixed_bytes"] - plain["fixed_bytes"] == 4 * (plain["parameters"] + 1000 * (128 + 2))
    parts = pretrain(pretrain__micro_batch_size=64)
    assert parts["step_flops"] - plain["step_flops"] == 2 * plain["forward_flops"]
    assert (parts["at_a_time"], parts["waiting_bytes"]) == (64, 2 * 4 * 32 * 32 * 3)
    unlabelled, both, labelled = map(distill, (1.0, 0.5, 0.0))
    forward = unlabelled["forward_flops"]
    assert [row["step_flops"] for row in (unlabelled, both, labelled)] == [4 * forward, 7 * forward, 3 * forward]
    assert both["image_bytes"] == 2 * labelled["image_bytes"] == 2 * unlabelled["image_bytes"]


def test_accelerators():
    tpu = on_accelerator("v5e-4", [ROW], 0.4)
    assert tpu["replicas"] == 4 and tpu["hours"]["a"] == pytest.approx(64e12 / (0.4 * 4 * 197e12) / 3600)
    assert on_accelerator("v3-8", [ROW], 0.4)["replicas"] == 8  # two cores a chip
    half, whole = (on_accelerator("A100", [ROW], 0.4, precision)["hours"]["a"] for precision in ("mixed_bfloat16", "float32"))
    assert whole == pytest.approx(2 * half)


def test_the_command_prints_a_table_and_writes_it(tmp_path, capsys):
    flags = ["--stage=plan", "--images=1281167", "--classes=1000", "--label_fraction=0.01", "--image_size=64", "--depth=10"]
    assert main([*flags, "--utilisation=0.5", f"--run_dir={tmp_path}", "--tpu=local", "--label_seeds=1,2,3"]) == 0
    printed, plan = capsys.readouterr().out, json.loads((tmp_path / "plan.json").read_text())
    assert [row["name"] for row in plan["trainings"]] == ["pretrain", "supervised", "finetune", "self_distill"]
    assert [machine["name"] for machine in plan["accelerators"]] == list(ACCELERATORS)
    for name in ("pretrain", "self_distill", *ACCELERATORS, "50% of the peak in float32"):
        assert name in printed
    assert "3 × " in printed and plan["trainings"][1]["runs"] == 3
    assert plan["problem"] == {"images": 1281167, "labels": 13000, "classes": 1000, "size": 64, "channels": 3}


def test_what_is_measured_is_a_step_without_memory_and_parts(tmp_path, monkeypatch, short_resnet):
    """So that the speed found by it is the same, whatever the pretraining has besides."""
    monkeypatch.setattr(plan_stage, "measure", lambda *_: (1000.0, 10, None))
    hours = []
    for name, more in (("plain", {}), ("more", {"pretrain__queue": 1000, "pretrain__micro_batch_size": 64})):
        config = stated(stage="plan", run_dir=str(tmp_path / name), measure=True, methods="finetune", **more)
        hours.append(tf_simclr.run(config)["accelerators"][-1]["hours"])
    assert hours[0]["finetune"] == pytest.approx(hours[1]["finetune"])
    assert hours[1]["pretrain"] == pytest.approx(10 / 6 * hours[0]["pretrain"]), "two further passes of both views"


def test_data_at_hand_and_this_machine(tmp_path, short_resnet):
    result = tf_simclr.run(tiny.settings("plan", tmp_path, measure=True), tiny.data())
    assert result["problem"] == {"images": 96, "labels": 24, "classes": 3, "size": 16, "channels": 1}
    here = result["accelerators"][-1]
    assert here["name"] == "this machine" and 0 < here["total_hours"] < 10 and here["fits"]
    assert result["trainings"][0]["steps"] == 28 * 96 // 32


def test_stated_data_need_an_image_size():
    with pytest.raises(UsageError, match="--images, .* needs --image_size, got none"):
        Problem.of(parse(["--stage=plan", "--images=1000"]))


def test_what_starts_from_a_pretraining_is_planned_without_one(tmp_path):
    plan = ["--stage=plan", "--from=pretrained:fashion_mnist", "--images=1000", "--classes=10", f"--run_dir={tmp_path}"]
    assert main(plan) == 0
    rows = json.loads((tmp_path / "plan.json").read_text())["trainings"]
    assert [row["name"] for row in rows] == ["supervised", "finetune", "self_distill"]
    assert {row["network"] for row in rows} == {"ResNet-10 ×0.25, 28 px"}
    with pytest.raises(UsageError, match="--measure times steps of the pretraining"):
        parse([*plan, "--measure"])


@pytest.mark.parametrize("stage", ["inspect", "preview"])
def test_who_looks_at_images_alone_starts_from_nothing(stage):
    with pytest.raises(UsageError, match=f"--stage={stage} looks at images alone and needs no --from, got runs/x"):
        parse([f"--stage={stage}", "--from=runs/x"])
