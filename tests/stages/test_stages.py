"""Every stage once, in order, on the tiny problem; later stages start from what earlier ones left on disk."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.config import ModelConfig, replace
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.data.source import join
from tf_simclr.errors import UsageError
from tf_simclr.evaluation.features import extract
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import distill, evaluate, setup
from tf_simclr.training.balance import balancing_shift

# What a stage does is not in the other groups of a network, which take most of its time to trace.
pytestmark = pytest.mark.usefixtures("short_resnet_throughout")

TAKING_ALL = ("evaluate", "export", "predict", "embed")  # of the earlier run's network


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def pretrained(root):
    tf_simclr.run(tiny.settings("pretrain", root / "pretrain"), tiny.data())
    return root / "pretrain"


def finetuning(run_dir, pretrained, **changes):
    """Settings, with which the classes are told apart whatever the seed."""
    return tiny.settings("finetune", run_dir, from_run=str(pretrained), finetune__epochs=107.0, **changes)


@pytest.fixture(scope="module")
def finetuned(root, pretrained):
    tf_simclr.run(finetuning(root / "finetune", pretrained), tiny.data())
    return root / "finetune"


@pytest.fixture(scope="module")
def with_a_student(root):
    """A baseline whose recipe has a student as well."""
    settings = tiny.settings("finetune", root / "baseline", supervised__steps=1, student__width=0.03)
    tf_simclr.run(settings, tiny.data())
    return root / "baseline"


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.smoke
def test_pretraining_tells_how_it_learns(pretrained):
    epochs = rows(pretrained)
    assert [row["step"] for row in epochs] == [21, 42, 63, 84]
    for row in epochs:
        assert row["chance_loss"] == pytest.approx(np.log(2 * 32 - 1))
        assert 0 <= row["contrastive_top1"] <= 1 and row["h_std"] > 0 and row["z_std"] > 0
        assert row["images_per_second"] > 0 and 0 <= row["input_wait"] <= 1
    assert epochs[0]["minutes_left"] > epochs[-1]["minutes_left"] == 0
    assert [("knn" in row, "linear_probe" in row) for row in epochs] == [(False,) * 2, (True,) * 2] * 2
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    assert list((pretrained / "tensorboard").rglob("events.*"))


def test_labels_never_reach_pretraining(root, pretrained):
    """The weights are the same, bit for bit, when there are no labels at all; nothing then looks at labels."""
    result = tf_simclr.run(tiny.settings("pretrain", root / "unlabelled"), tiny.data(labelled=False))
    assert "knn" not in result
    one, other = (setup.load_network(RunDirectory(path)) for path in (pretrained, root / "unlabelled"))
    assert one.classifier is None and not RunDirectory(pretrained).facts()["class_names"]
    for a, b in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_pretraining_goes_on_from_an_earlier_one(root, pretrained, caplog):
    """On other images; a rate of nearly nothing leaves encoder, head and the average of the memory where the earlier run left them."""
    still = {"pretrain__learning_rate": 1e-12, "pretrain__epochs": 1.0, "pretrain__probe_every": 0.0, "pretrain__queue": 64}
    with caplog.at_level("INFO", logger="absl"):
        tf_simclr.run(tiny.settings("pretrain", root / "more", from_run=str(pretrained), **still), tiny.data(labelled=False, train=64))
    assert ", 0 new, 0 left behind" in caplog.text
    before, after = (setup.load_network(RunDirectory(path)) for path in (pretrained, root / "more"))
    for a, b in zip(before.trainable_variables, after.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    kernel = "network/encoder/stem/convs/0/conv/conv/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    state = tf.train.load_checkpoint(str(next((root / "more" / "checkpoints").glob("step-*")) / "state"))
    np.testing.assert_allclose(state.get_tensor(f"memory/{kernel}"), before.encoder.stem.convs[0].conv.conv.kernel, atol=1e-6)
    first, resumed = rows(pretrained)[0], rows(root / "more")[0]
    assert resumed["loss"] < first["loss"] - 0.1, "started at random"
    assert RunDirectory(root / "more").facts()["parent"]["path"] == str(pretrained)
    with pytest.raises(UsageError, match="must be none of the runs that --from goes back to"):
        tf_simclr.run(tiny.settings("pretrain", pretrained, from_run=str(root / "more"), force=True), tiny.data())
    assert (pretrained / "done.json").exists() and not (pretrained / "replaced").exists()


@pytest.mark.smoke
def test_finetuning_starts_from_the_pretrained_weights_and_learns(root, pretrained, finetuned):
    result = RunDirectory(finetuned).result
    assert result["accuracy"] > 80 and result["labels"] == 24
    facts = RunDirectory(finetuned).facts()
    assert facts["class_names"] == list(tiny.CLASSES) and facts["selector"] == 1
    assert np.bincount(tiny.data().train.labels[facts["label_indices"]]).tolist() == [8, 8, 8]
    # A rate of nearly nothing leaves the restored weights where they were.
    still = {"finetune__learning_rate": 1e-12, "finetune__epochs": 1.0}
    tf_simclr.run(tiny.settings("finetune", root / "still", from_run=str(pretrained), **still), tiny.data())
    before, after = (setup.load_network(RunDirectory(path)) for path in (pretrained, root / "still"))
    assert len(after.head.layers) == 1
    for ours, theirs in ((after.encoder, before.encoder), (after.head.layers[0], before.head.layers[0])):
        for a, b in zip(ours.trainable_variables, theirs.trainable_variables):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_without_a_pretrained_run_finetuning_is_the_supervised_baseline(root):
    result = tf_simclr.run(tiny.settings("finetune", root / "supervised", supervised__epochs=160.0), tiny.data())
    assert result["accuracy"] > 60
    assert RunDirectory(root / "supervised").facts()["selector"] == 0


@pytest.mark.smoke
def test_linear_evaluation_leaves_the_features_as_they_are(root, pretrained):
    result = tf_simclr.run(tiny.settings("linear_eval", root / "linear", from_run=str(pretrained)), tiny.data())
    assert result["accuracy"] > 60 and result["l2"] > 0
    before, after = (setup.load_network(RunDirectory(path)) for path in (pretrained, root / "linear"))
    for a, b in zip(after.encoder.get_weights(), before.encoder.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.smoke
def test_self_distillation_keeps_up_with_its_teacher(root, finetuned):
    result = tf_simclr.run(tiny.settings("distill", root / "self", from_run=str(finetuned), distill__epochs=21.0), tiny.data())
    assert result["accuracy"] > RunDirectory(finetuned).result["accuracy"] - 10
    assert result["parameters"] == RunDirectory(finetuned).result["parameters"]
    assert rows(root / "self")[-1]["agreement"] > 0.8


@pytest.mark.smoke
def test_a_smaller_student_learns_from_its_teacher(root, finetuned):
    settings = tiny.settings("distill", root / "student", from_run=str(finetuned), student__width=0.03125, student__epochs=28.0)
    result = tf_simclr.run(settings, tiny.data())
    assert result["parameters"] < RunDirectory(finetuned).result["parameters"] / 2
    assert result["accuracy"] > 60
    assert RunDirectory(root / "student").spec().width == 0.03125
    # Its recipe's settings, in which the teacher's architecture is given, serve to score it.
    scores = tf_simclr.run(tiny.settings("evaluate", "", from_run=str(root / "student")), tiny.data())
    assert 100 * scores["top1"] == pytest.approx(result["accuracy"])
    # As a teacher it has another encoder than its ancestor, which no student of its own can start from.
    again = tiny.settings("distill", root / "again", from_run=str(root / "student"), distill__init="pretrained")
    again = replace(again, model=ModelConfig())  # which is the run's
    with pytest.raises(UsageError, match=r"^--init=pretrained needs .* encoder .* in .*/pretrain, width=0.0625, got width=0.03125; give"):
        tf_simclr.run(again, tiny.data())
    assert not (root / "again").exists()


@pytest.mark.parametrize("alpha, reported", [(0.0, {"accuracy"}), (0.5, {"accuracy", "agreement"})])
def test_distillation_with_labels(root, finetuned, alpha, reported):
    run = root / f"alpha_{alpha}"
    tf_simclr.run(tiny.settings("distill", run, from_run=str(finetuned), distill__alpha=alpha, data__labels_per_class=0), tiny.data())
    assert {"accuracy", "agreement"} & set(rows(run)[-1]) == reported
    # Without a limit of its own, the labelled term uses the teacher's labels.
    assert RunDirectory(run).facts()["label_indices"] == RunDirectory(finetuned).facts()["label_indices"]


def test_the_labels_of_a_student_are_counted_with_its_teachers(root, finetuned):
    theirs, data, other = RunDirectory(finetuned).facts()["label_indices"], tiny.data(), tiny.data(train=60)

    def distilled(name, data, **changes):
        home = root / "counted" / name
        short = {"from_run": str(finetuned), "distill__steps": 1, "data__labels_per_class": 0}
        return tf_simclr.run(tiny.settings("distill", home, **(short | changes)), data)["labels"], RunDirectory(home).facts()

    # More images, whose labels are not used: the teacher's are still those of the first ones.
    facts, more = RunDirectory(finetuned).facts(), join(data.train, other.train.without_labels(), "more")
    assert distill._labels_of(facts, more) == distill._labels_of(facts, data.train) == theirs
    assert distill._labels_of(facts, data.train.take(np.arange(90))) is distill._labels_of(facts, other.train) is None
    # Another draw of as many.
    count, redrawn = distilled("redrawn", data, distill__alpha=0.5, data__labels_per_class=8, data__label_seed=2)
    used = redrawn["label_indices"]
    assert count == len(used) == len(set(used)) > 24 and set(theirs) < set(used)
    # Other images: no index is taken over, and all their labels come to those of the teacher.
    count, beside = distilled("beside", other, distill__alpha=0.5)
    assert count == 84 and sorted(beside["label_indices"]) == list(range(60))
    count, alone = distilled("alone", other, from_run=str(root / "counted" / "beside"))
    assert count == 84 and alone["label_indices"] == beside["label_indices"]


def test_a_student_may_start_from_the_pretrained_weights(root, pretrained, finetuned):
    """Its first weights are those of the pretraining, not of its teacher; a rate of nearly nothing leaves them there."""
    still = {"distill__init": "pretrained", "distill__learning_rate": 1e-12, "distill__epochs": 1.0}
    tf_simclr.run(tiny.settings("distill", root / "restarted", from_run=str(finetuned), **still), tiny.data())
    before, after = (setup.load_network(RunDirectory(path)) for path in (pretrained, root / "restarted"))
    for a, b in zip(after.encoder.trainable_variables, before.encoder.trainable_variables):
        np.testing.assert_allclose(a, b, atol=1e-6)
    # Another training in its directory is not what the teacher was pretrained by.
    kept = [path.rename(path.with_name("replaced")) for path in [pretrained / "checkpoints"]]
    try:
        with pytest.raises(UsageError, match="goes back to .*pretrain.*, which is gone or was trained anew; give --init=random"):
            tf_simclr.run(tiny.settings("distill", root / "refused", from_run=str(finetuned), **still), tiny.data())
    finally:
        kept[0].rename(pretrained / "checkpoints")


def test_a_balanced_teacher_teaches_other_answers(root, finetuned):
    """A student that starts as its teacher, and stays there, has the shifted biases of a balanced one."""
    still = {"distill__init": "teacher", "distill__learning_rate": 1e-12, "distill__epochs": 1.0, "distill__balance": True}
    tf_simclr.run(tiny.settings("distill", root / "balanced", from_run=str(finetuned), **still), tiny.data())
    before, after = (setup.load_network(RunDirectory(path)) for path in (finetuned, root / "balanced"))
    batches = plain_batches(tiny.data().train, spec=before.spec, batch_size=96)
    shift = balancing_shift(extract(before, batches)["logits"])
    assert np.abs(shift).max() > 1e-3
    np.testing.assert_allclose(after.classifier.bias - before.classifier.bias, shift, atol=1e-4)


@pytest.mark.smoke
def test_evaluation_repeats_the_score_that_the_run_reported(root, finetuned, monkeypatch):
    scores = tf_simclr.run(tiny.settings("evaluate", root / "report", from_run=str(finetuned)), tiny.data())
    assert 100 * scores["top1"] == pytest.approx(RunDirectory(finetuned).result["accuracy"])
    assert "top5" not in scores and len(scores["per_class"]) == 3
    # Where nothing can be written, it says so before it looks at an image.
    monkeypatch.setattr(evaluate, "score_network", None)
    (root / "file").touch()
    with pytest.raises(UsageError, match=r"must be a directory to write to, got .* \(a file is in its place\)"):
        tf_simclr.run(tiny.settings("evaluate", root / "file", from_run=str(finetuned)), tiny.data())
    for directory in (root / "report" / "report", finetuned / "report"):
        assert {path.name for path in directory.iterdir()} >= {"evaluation.json", "evaluation.md", "evaluation.png"}


@pytest.mark.smoke
def test_an_export_answers_as_the_network_does(root, finetuned):
    tf_simclr.run(tiny.settings("export", "", from_run=str(finetuned)))
    pixels, _ = tiny.images(5, 7)
    x = tf.constant(pixels[..., None] / 255, tf.float32)
    served = tf.saved_model.load(str(finetuned / "export")).signatures["serving_default"](x)
    expected = tf.nn.softmax(setup.load_network(RunDirectory(finetuned))(x)["logits"])
    np.testing.assert_allclose(served["probabilities"], expected, atol=1e-5)


def test_an_export_for_small_devices_is_scored(root, finetuned):
    export, report = finetuned / "export" / "tflite", finetuned / "report" / "tflite.json"
    tf_simclr.run(tiny.settings("export", "", from_run=str(finetuned), tflite="float32"), tiny.data())
    assert [path.name for path in export.iterdir()] == ["float32.tflite"]
    (row,) = json.loads(report.read_text())["rows"]
    assert 100 * row["accuracy"] == pytest.approx(RunDirectory(finetuned).result["accuracy"]) and row["accuracy_drop"] == 0
    other = dataclasses.replace(tiny.data().evaluation, class_names=("a", "b", "c"))
    with pytest.raises(UsageError, match="the classes must be those of"):
        settings = tiny.settings("export", root / "wrong", from_run=str(finetuned), tflite="float32")
        tf_simclr.run(settings, dataclasses.replace(tiny.data(), evaluation=other))
    assert not (root / "wrong").exists()
    tf_simclr.run(tiny.settings("export", "", from_run=str(finetuned)), tiny.data())
    assert not export.exists() and not report.exists(), "the report goes with the files that it is of"


def test_the_selector_chooses_the_layer_everywhere(root, pretrained):
    for selector in (0, 2):
        run = root / f"selector_{selector}"
        changes = {"finetune__selector": selector, "finetune__epochs": 2.0}
        tf_simclr.run(tiny.settings("finetune", run, from_run=str(pretrained), **changes), tiny.data())
        network = setup.load_network(RunDirectory(run))
        features = network(tf.zeros([1, 16, 16, 1]))["features"]
        assert len(features) == selector + 1 and network.classifier.kernel.shape[0] == features[selector].shape[1]


def test_a_finished_run_is_not_repeated(finetuned, pretrained):
    before = RunDirectory(finetuned).result
    assert tf_simclr.run(finetuning(finetuned, pretrained), tiny.data()) == before


@pytest.mark.parametrize(
    "stage, changes, words",
    [
        ("linear_eval", {}, "needs --from"),
        ("distill", {}, "needs --from"),
        ("evaluate", {"from_run": "nowhere"}, "nothing at that path"),
        ("distill", {"from_run": "PRETRAINED"}, "to be a run of finetune or distill or linear_eval, got .* a run of pretrain"),
        ("finetune", {"from_run": "PRETRAINED", "model__depth": 50}, "--depth must be that of .*, 10, got 50"),
        # The default, but asked for.
        ("finetune", {"from_run": "PRETRAINED", "model__depth": 18}, "--depth must be that of .*, 10, got 18"),
        ("finetune", {"from_run": "PRETRAINED", "data__labels_per_class": 99}, "99 labels of every class"),
        ("pretrain", {"pretrain__batch_size": 97}, "batch of 2 to 96"),
        ("pretrain", {"from_run": "FINETUNED"}, "to be a run of pretrain, got .* a run of finetune"),
        ("pretrain", {"from_run": "PRETRAINED", "model__width": 0.5}, "--width must be that of"),
        ("evaluate", {"from_run": "BASELINE", "model__depth": 50}, "--depth must be that of .*, 10, got 50"),
        *((stage, {"from_run": "FINETUNED", "model__depth": 50}, "--depth must be that of .*, 10, got 50") for stage in TAKING_ALL),
        ("pretrain", {"from_run": "PRETRAINED", "run_dir": "PRETRAINED", "force": True}, "none of the runs that --from goes back to"),
        ("export", {"from_run": "FINETUNED", "run_dir": "/dev/null/export"}, "--run_dir must be a directory"),
        ("pretrain", {"data__eval_on": "holdout"}, "evaluation images must be given or held out by eval_on=holdout, got both"),
        ("pipeline", {"from_run": "FINETUNED"}, "to be a run of pretrain, got .* a run of finetune"),
        ("pipeline", {"from_run": "PRETRAINED", "methods": "supervised"}, "none of --methods=supervised starts from --from="),
        ("pipeline", {"from_run": "PRETRAINED", "methods": "self_distill", "distill__selector": 4}, "--distill_selector must be at most 3"),
        ("plan", {"from_run": "FINETUNED"}, "to be a run of pretrain, got .* a run of finetune"),
        ("plan", {"from_run": "PRETRAINED", "methods": "linear_eval"}, "labels and a method that trains, got 3 classes"),
        ("pretrain", {"strategy": "mirrored", "pretrain__batch_size": 33}, "multiple of the 2 replicas"),
        (
            "pipeline",
            {"strategy": "mirrored", "methods": "finetune", "finetune__batch_size": 33},
            "--finetune_batch_size must be a multiple",
        ),
        ("pipeline", {"methods": "finetune", "pretrain__batch_size": 97}, "batch of 2 to 96, .* got --pretrain_batch_size=97"),
        ("pipeline", {"methods": "finetune", "pretrain__micro_batch_size": 3}, "--micro_batch_size must divide the 32 images"),
        ("pipeline", {"methods": "self_distill", "distill__selector": 2}, "needs its selector, 1, got 2"),
        ("pipeline", {}, "needs an architecture: give --student_width"),
        ("distill", {"from_run": "FINETUNED", "distill__selector": 2}, "needs its selector, 1, got 2"),
        ("distill", {"from_run": "FINETUNED", "distill__balance": True, "distill__alpha": 0.0}, "distill_balance .* got distill_alpha=0"),
        ("distill", {"from_run": "FINETUNED", "student__width": 0.03, "student__selector": 4}, "at most 3"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_before_training(request, root, stage, changes, words):
    places = {"PRETRAINED": "pretrained", "FINETUNED": "finetuned", "BASELINE": "with_a_student"}
    changes = {name: str(request.getfixturevalue(places[value])) if value in places else value for name, value in changes.items()}
    with pytest.raises(UsageError, match=words) as raised:
        tf_simclr.run(tiny.settings(stage, **({"run_dir": root / "refused"} | changes)), tiny.data())
    assert "\n" not in str(raised.value)
    assert not list((root / "refused").rglob("checkpoints"))


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_run_directory_is_a_directory(root, place):
    (root / "file").write_text("")
    with pytest.raises(UsageError, match="--run_dir must be a directory to write to, got .* .a file is in its place.; give another"):
        tf_simclr.run(tiny.settings("pretrain", root / place), tiny.data())


def test_an_image_alone_has_no_negatives(root):
    with pytest.raises(UsageError, match="needs at least 2 images, got 1; give more"):
        tf_simclr.run(tiny.settings("pretrain", root / "refused"), tiny.data(labelled=False, train=1))


@pytest.mark.parametrize(
    "stage, changes",
    [("pretrain", {"pretrain__optimizer": "lamb"}), ("finetune", {"supervised__optimizer": "lamb"})]
    + [("pipeline", {"methods": "supervised,finetune", "finetune__optimizer": "lamb"})],
)
def test_the_packages_of_all_optimizers_are_asked_for_before_anything_is_written(root, monkeypatch, stage, changes):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(UsageError, match="lamb needs tensorflow-addons"):
        tf_simclr.run(tiny.settings(stage, root / "refused", **changes), tiny.data())
    assert not (root / "refused").exists()


def test_stages_that_need_labels_refuse_images_without(root, pretrained):
    for stage, start in (("finetune", ""), ("linear_eval", str(pretrained)), ("pipeline", "")):
        with pytest.raises(UsageError, match="needs labels, but the images .* have none"):
            tf_simclr.run(tiny.settings(stage, root / "refused", from_run=start, student__width=0.03), tiny.data(labelled=False))


def test_a_run_with_other_settings_is_not_continued(root, finetuned, pretrained):
    changed = finetuning(finetuned, pretrained, finetune__learning_rate=0.5)
    with pytest.raises(UsageError, match="finetune.learning_rate was 0.01 and is 0.5"):
        tf_simclr.run(changed, tiny.data())


def test_classes_of_the_teacher_must_be_those_of_the_images(root, finetuned):
    data = tiny.data()
    renamed = dataclasses.replace(data, evaluation=dataclasses.replace(data.evaluation, class_names=("a", "b", "c")))
    for stage in ("distill", "evaluate"):
        with pytest.raises(UsageError, match="classes must be"):
            tf_simclr.run(tiny.settings(stage, root / "refused", from_run=str(finetuned)), renamed)
