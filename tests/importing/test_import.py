"""Files as they were released become runs that compute what the files' own weights say, and nothing is guessed."""

import json
import pathlib
import re

import numpy as np
import oracles
import pytest
import released
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.config import ModelConfig, replace
from tf_simclr.errors import UsageError
from tf_simclr.importing.run import import_run
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import setup

SMALL = {"depth": 10, "width": 0.0625, "stem": "cifar"}
HEAD = (32, 32, 8)  # as wide as the small encoder, as released heads are


def small(classes=3, tf2=False, on=0, head=HEAD, **changes):
    """Weights of a small network."""
    layers = released.encoder_layers(**SMALL | changes)
    return released.values(released.shapes(layers, head, classes, tf2, on))


def settings_of(stage, run_dir, **changes):
    """`tiny.settings` without an architecture, which is that of the imported weights."""
    return replace(replace(tiny.settings(stage, run_dir), model=ModelConfig()), **changes)


def write(folder, named, tf2=False, pretrained=True):
    folder.mkdir()
    if tf2:
        released.write_saved_model(folder, named, pretrained)
    else:
        released.write_checkpoint(folder, named)
    return folder


def by_number(named, pattern):
    """Values in the order of the numbers in their names; one without a number comes first."""
    found = {int(m[1] or 0): value for name, value in named.items() if (m := re.search(pattern, name))}
    return [found[i] for i in range(len(found))]


def plain_features(named, images, depth, sk, stem):
    """Pooled features and the output of every head layer, by plain operations on the values behind the names."""
    encoder = {name: value for name, value in named.items() if name.startswith(("base_model/", "resnet/"))}
    kernels = by_number(encoder, r"/conv2d(?:_(\d+))?/kernel$")
    norms = zip(*(by_number(encoder, rf"/(?:sync_)?batch_normalization(?:_(\d+))?/{part}$") for part in released.NORM))
    features = [oracles.PlainResNet(kernels, norms)(images, released.COUNTS[depth], depth >= 50, sk, stem)]
    for j in range(len({m[1] for name in named if (m := re.search(r"/nl_(\d+)/", name))})):
        layer = {name.rpartition("/")[2]: value for name, value in named.items() if f"/nl_{j}/" in name}
        x = (tf.matmul(features[-1], layer["kernel"]) - layer["moving_mean"]) / tf.sqrt(layer["moving_variance"] + 1e-5) * layer["gamma"]
        features.append(tf.nn.relu(x + layer["beta"]) if "beta" in layer else x)
    return features


@pytest.mark.parametrize(
    "depth, width, sk, stem, size, tf2",
    [(50, 0.25, False, "imagenet", 35, True), (50, 0.25, True, "imagenet", 35, False), (18, 1.0, False, "cifar", 17, False)]
    + [(10, 0.25, True, "cifar", 16, True)],
)
def test_outputs_equal_plain_operations_on_the_named_weights(tmp_path, depth, width, sk, stem, size, tf2):
    layers = released.encoder_layers(depth, width, sk, stem)
    named = released.values(released.shapes(layers, (96, 96, 24), 10, tf2))
    import_run(write(tmp_path / "released", named, tf2), tmp_path / "run", stage="pretrain", image_size=size)
    images = tf.random.stateless_uniform([2, size, size, 3], [1, 2])
    expected = plain_features(named, images, depth, sk, stem)
    ours = setup.load_network(RunDirectory(tmp_path / "run"))(images)["features"]
    assert len(ours) == len(expected) == 4
    for a, b in zip(ours, expected):
        assert tf.math.reduce_std(b, 0).numpy().max() > 0  # different images, different features
        np.testing.assert_allclose(a / tf.reduce_max(tf.abs(b)), b / tf.reduce_max(tf.abs(b)), atol=1e-4)


def test_a_pretrained_model_becomes_a_run_to_fine_tune_and_export(tmp_path):
    named = small()
    extra = {name: np.zeros((), np.float32) for name in ("global_step", "memory/queue")}
    extra |= {f"{name}/Momentum": np.zeros_like(value) for name, value in named.items() if name.endswith("kernel")}
    extra |= {f"ema_model/{name}": np.ones_like(value) for name, value in named.items() if name.endswith("gamma")}
    source = write(tmp_path / "released", named | extra)
    report = import_run(source, tmp_path / "run", stage="pretrain", image_size=16)
    assert report == json.loads((tmp_path / "run" / "report" / "import.json").read_text())
    restored = {row["from"] for row in report["restored"]}
    left_out = {name for names in report["skipped"].values() for name in names}
    assert restored == {name for name in named if "supervised" not in name} and left_out == set(extra) and not report["missing"]
    assert report["unused"] == {"classifier of a pretrained model": [f"head_supervised/linear_layer/dense/{v}" for v in ("bias", "kernel")]}

    data = tf_simclr.from_arrays(*rgb(0), *rgb(1), class_names=tiny.CLASSES)
    settings = {"from_run": str(tmp_path / "run"), "finetune__steps": 2, "finetune__batch_size": 8}
    result = tf_simclr.run(settings_of("finetune", tmp_path / "finetune", **settings), data)
    assert 0 <= result["accuracy"] <= 100 and RunDirectory(tmp_path / "finetune").spec().width == 0.0625
    tf_simclr.run(settings_of("export", "", from_run=str(tmp_path / "run")))
    images = tf.constant(data.train.images[:2] / 255, tf.float32)
    served = tf.saved_model.load(str(tmp_path / "run" / "export")).signatures["serving_default"](images)
    for layer, expected in enumerate(plain_features(named, images, 10, False, "cifar")):
        np.testing.assert_allclose(served[f"features_{layer}" if layer else "features"], expected, atol=1e-4)


def rgb(seed):
    images, labels = tiny.images(24, seed)
    return np.repeat(images[..., None], 3, axis=3), labels


def test_a_fine_tuned_model_becomes_a_teacher(tmp_path):
    named = small(on=1)
    source = write(tmp_path / "released", named)
    report = import_run(source, tmp_path / "run", selector=1, image_size=16, class_names=tiny.CLASSES)
    assert report["stage"] == "finetune" and report["classes"] == 3
    behind = {name for name in named if "/nl_1/" in name or "/nl_2/" in name}
    assert set(report["unused"]["head layer behind the classifier's"]) == behind
    images, labels = rgb(0)
    x = tf.constant(images[:2] / 255, tf.float32)
    hidden = plain_features(named, x, 10, False, "cifar")[1]
    expected = hidden @ named["head_supervised/linear_layer/dense/kernel"] + named["head_supervised/linear_layer/dense/bias"]
    np.testing.assert_allclose(setup.load_network(RunDirectory(tmp_path / "run"))(x)["logits"], expected, atol=1e-4)

    data = tf_simclr.from_arrays(images, labels, *rgb(1), class_names=tiny.CLASSES)
    settings = {"from_run": str(tmp_path / "run"), "distill__steps": 2, "distill__batch_size": 8}
    result = tf_simclr.run(settings_of("distill", tmp_path / "student", **settings), data)
    assert result["parameters"] == report["parameters"] and result["labels"] == 0


def test_without_a_projection_head_there_is_nothing_but_the_pooled_features(tmp_path):
    """As SimCLRv1's checkpoints are."""
    source = write(tmp_path / "released", small(head=()))
    assert import_run(source, tmp_path / "classifier")["stage"] == "finetune"
    import_run(source, tmp_path / "encoder", stage="pretrain", image_size=16)
    assert len(setup.load_network(RunDirectory(tmp_path / "encoder"))(tf.zeros([1, 16, 16, 3]))["features"]) == 1
    data = tf_simclr.from_arrays(*rgb(0), *rgb(1))
    settings = {"from_run": str(tmp_path / "encoder"), "finetune__steps": 1, "finetune__batch_size": 8}
    with pytest.raises(UsageError, match="--selector must be at most 0"):
        tf_simclr.run(settings_of("finetune", tmp_path / "finetune", **settings), data)
    for stage in ("pipeline", "plan"):
        with pytest.raises(UsageError, match="--finetune_selector must be at most 0"):
            tf_simclr.run(settings_of(stage, tmp_path / "other", methods="finetune", **settings), data)
    # Pretraining goes on with a new head.
    still = {"pretrain__steps": 1, "pretrain__learning_rate": 1e-12, "pretrain__batch_size": 8, "model__head_layers": 2}
    tf_simclr.run(settings_of("pretrain", tmp_path / "more", **settings | still), data)
    before, after = (setup.load_network(RunDirectory(tmp_path / name)) for name in ("encoder", "more"))
    assert len(after.head.layers) == RunDirectory(tmp_path / "more").facts()["selector"] == 2
    for a, b in zip(before.encoder.trainable_variables, after.encoder.trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    with pytest.raises(UsageError, match="imported weights come without images"):  # no image came with the weights
        tf_simclr.run(settings_of("finetune", tmp_path / "no_data", **settings))


def renamed(named, old, new):
    return {new if name == old else name: value for name, value in named.items()}


def without(named, *names):
    return {name: value for name, value in named.items() if name not in names}


FIRST = np.zeros([3, 3, 3, 4], np.float32)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda n: n | {"base_model/dense/kernel": FIRST}, "got unknown base_model/dense/kernel; give"),
        (lambda n: n | {"beta1_power": FIRST}, "got unknown beta1_power"),
        (lambda n: n | {"resnet/conv2d/kernel": FIRST}, "got base_model/conv2d/kernel and resnet/conv2d/kernel for conv2d/kernel"),
        (lambda n: without(n, "base_model/conv2d_3/kernel"), "conv2d_3/kernel is missing"),
        (lambda n: without(n, "base_model/conv2d_12/kernel"), "got missing: conv2d_12/kernel"),
        (lambda n: without(n, "base_model/batch_normalization_4/moving_mean"), "missing: batch_normalization_4/moving_mean"),
        (lambda n: without(n, "head_contrastive/nl_1/dense/kernel"), "missing: nl_1/dense/kernel"),
        (lambda n: n | {"base_model/conv2d_3/kernel": FIRST}, r"conv2d_3/kernel has shape \[3, 3, 3, 4\] instead of \[3, 3, 4, 4\]"),
        (lambda n: n | {"base_model/batch_normalization/gamma": FIRST[0, 0, 0, :2]}, r"gamma has shape \[2\] instead of \[4\]"),
        (lambda n: n | {"base_model/conv2d_13/kernel": FIRST}, "without a place: conv2d_13/kernel"),
        (lambda n: n | {"head_contrastive/nl_2/batch_normalization/beta": FIRST[0, 0, 0]}, "without a place: nl_2/.*/beta"),
        (lambda n: n | {"base_model/conv2d_3/kernel": np.full([3, 3, 4, 4], np.nan, np.float32)}, "NaN or infinity in base_model/conv2d_3"),
        (lambda n: without(n, *(name for name in n if name.startswith("base_model"))), "got none of them"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, change, words):
    source = write(tmp_path / "released", change(small()))
    with pytest.raises(UsageError, match=words) as raised:
        import_run(source, tmp_path / "run", stage="pretrain")
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_files_and_options_that_cannot_be_are_refused(tmp_path):
    source = write(tmp_path / "released", small())
    tf.train.Checkpoint(v=tf.Variable(1.0)).save(str(tmp_path / "objects" / "model"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    asked = {"checkpoint": source, "run_dir": tmp_path / "run", "stage": "pretrain"}
    for changes, words in (
        ({"checkpoint": tmp_path / "nowhere"}, "must be the folder of a TF1 checkpoint or of a SavedModel"),
        ({"checkpoint": tmp_path / "full"}, "must be the folder of"),
        ({"checkpoint": tmp_path / "objects"}, "got one of TF2 objects"),
        ({"run_dir": tmp_path / "full"}, "must be a new or empty directory"),
        ({"stage": "finetune", "selector": 0, "class_names": ("a", "b")}, "one line for each of the 3 classes, got 2"),
        ({"stage": "finetune", "selector": 0, "class_names": ("a", "b", "a")}, "must differ and not be empty, got 'a'"),
        ({"image_size": 4}, "at least 8 pixels"),
        ({"class_names": ("a", "b", "c")}, "--class_names needs weights with a classifier, got 3 names"),
    ):
        with pytest.raises(UsageError, match=words) as raised:
            import_run(**asked | changes)
        assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()


def test_a_saved_model_says_itself_what_it_is(tmp_path):
    report = import_run(write(tmp_path / "pretrained", small(tf2=True), tf2=True), tmp_path / "run")
    assert (report["kind"], report["stage"], report["selector"]) == ("TF2 SavedModel", "pretrain", 3)
    source = write(tmp_path / "finetuned", small(tf2=True, on=1), tf2=True, pretrained=False)
    with pytest.raises(UsageError, match="--selector=0 or 1 or 2 for a fine-tuned one"):
        import_run(source, tmp_path / "other")
    assert import_run(source, tmp_path / "other", selector=1)["stage"] == "finetune"


@pytest.mark.parametrize("tf2", [False, True])
def test_a_file_that_was_not_read_to_its_end_is_refused(tmp_path, tf2):
    source = pathlib.Path(write(tmp_path / "released", small(tf2=tf2), tf2=tf2))
    (values,) = (source if source.is_dir() else source.parent).glob("**/*.data-00000-of-00001")
    values.write_bytes(values.read_bytes()[:5000])
    with pytest.raises(UsageError, match="cannot be read: |TensorFlow can load, but of .* it says: ") as raised:
        import_run(source, tmp_path / "run", stage="pretrain")
    assert "\n" not in str(raised.value) and not (tmp_path / "run").exists()
