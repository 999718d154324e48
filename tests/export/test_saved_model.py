"""The export in a process that has no tf_simclr, and what may be overwritten."""

import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image

from tf_simclr.config import ModelConfig
from tf_simclr.data import decode
from tf_simclr.errors import UsageError
from tf_simclr.export import reading
from tf_simclr.export.saved_model import CARD, CARD_TEXT, export_network, usage_line
from tf_simclr.models.network import Network

NAMES = ["Hemd", "Schuh", "Mütze"]
FEATURES, CLASSES = {"features", "features_1", "features_2"}, {"logits", "probabilities", "class_index", "class_name", "status"}
SPEC = ModelConfig(depth=10, width=0.0625, sk=True, stem="cifar2", image_size=12, channels=3, head_width=6)
pytestmark = pytest.mark.usefixtures("short_resnet_throughout")

# Runs without the package: it is not on the path, and importing it fails in any case.
FRESH = """
import sys
sys.modules["tf_simclr"] = None
import numpy as np, tensorflow as tf
given = np.load("given.npz", allow_pickle=True)
loaded = tf.saved_model.load("here/export")
found = {}
for name in given.files:
    calls = (("serve_encoded", "encoded"),) if name.startswith("encoded") else (("embed", "images"), ("serving_default", "images"))
    array = given[name].tolist() if name.startswith("encoded") else given[name]
    for signature, argument in calls:
        for key, value in loaded.signatures[signature](**{argument: tf.constant(array)}).items():
            found[name + "/" + key] = value.numpy()
assert not [m for m in sys.modules if m.startswith("tf_simclr.")]
np.savez("found.npz", **found)
"""


def _encode(array, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """(network, inputs by name, outputs of a fresh process by 'input/output', directory of the export)."""
    folder, network, rng = tmp_path_factory.mktemp("fresh"), tiny.scattered_network(SPEC, 2), np.random.default_rng(0)
    pixels = rng.integers(0, np.linspace(30, 256, 7, dtype=int)[:, None, None, None], [7, 12, 12, 3], np.uint8)
    # Centred, so that not all images fall into one class.
    network.classifier.bias.assign_sub(tf.reduce_mean(network(pixels / np.float32(255))["logits"], axis=0))
    export_network(network, NAMES, folder / "here" / "export")
    odd = [rng.integers(0, 256, [*side, 3], np.uint8) for side in ((20, 31), (9, 12), (12, 12))]
    given = {
        "native": pixels.astype(np.float32) / 255,
        "one": pixels[:1].astype(np.float32) / 255,
        "wide": rng.random([2, 20, 31, 3], np.float32),
        "grey": rng.random([2, 12, 12, 1], np.float32),
        "none": np.zeros([0, 12, 12, 3], np.float32),
        "encoded_native": np.array([_encode(p) for p in pixels], object),
        "encoded_odd": np.array([_encode(p) for p in odd] + [_encode(odd[0], "JPEG"), _encode(odd[0][:, :, 0])], object),
    }
    np.savez(folder / "given.npz", **given)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-I", "-c", FRESH], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "found.npz", allow_pickle=True) as found:
        return network, given, dict(found), folder / "here" / "export"


def _expect(network, squares, found, name):
    outputs = network(tf.stack(squares), training=False)
    keys = CLASSES | {"features"} if name.startswith("encoded") else CLASSES | FEATURES
    assert {key for key in found if key.startswith(name + "/")} == {f"{name}/{key}" for key in keys}
    for key, value in zip(sorted(FEATURES & keys), outputs["features"]):
        np.testing.assert_allclose(found[f"{name}/{key}"], value, atol=1e-5)
    assert set(found[f"{name}/status"]) == {b"ok"}
    np.testing.assert_allclose(found[f"{name}/logits"], outputs["logits"], atol=1e-5)
    np.testing.assert_allclose(found[f"{name}/probabilities"], tf.nn.softmax(outputs["logits"]), atol=1e-5)
    best = np.argmax(outputs["logits"], axis=1)
    assert found[f"{name}/class_index"].tolist() == best.tolist()
    assert [n.decode() for n in found[f"{name}/class_name"]] == [NAMES[b] for b in best]


def test_images_of_native_size(fresh):
    network, given, found, _ = fresh
    assert len(set(np.argmax(network(given["native"])["logits"], axis=1))) > 1, "all images alike: the test could not fail"
    _expect(network, given["native"], found, "native")
    _expect(network, given["one"], found, "one")


def test_images_of_another_size(fresh):
    network, given, found, _ = fresh
    _expect(network, decode.resize_batch(given["wide"], 12), found, "wide")


def test_grey_images_for_a_network_of_colours(fresh):
    network, given, found, _ = fresh
    _expect(network, np.repeat(given["grey"], 3, axis=-1), found, "grey")


def test_no_images(fresh):
    _, _, found, _ = fresh
    assert found["none/probabilities"].shape == (0, 3) and found["none/class_name"].shape == (0,)


def test_encoded_images(fresh):
    network, given, found, _ = fresh
    _expect(network, given["native"], found, "encoded_native")
    squares = [decode.resize_to_square(decode.read(tf.constant(e), 3), 12) for e in given["encoded_odd"]]
    _expect(network, squares, found, "encoded_odd")


def test_card(fresh):
    card = json.loads((fresh[3] / CARD).read_text(encoding="utf-8"))
    assert card["class_names"] == NAMES
    assert (card["image_size"], card["channels"], card["selector"]) == (12, 3, 2)
    assert card["architecture"]["sk"] is True
    assert card["parameters"] == sum(np.size(weight) for weight in fresh[0].get_weights())
    assert "A classifier of 3 classes" in (fresh[3] / CARD_TEXT).read_text(encoding="utf-8")


def test_usage_line_as_printed(fresh, tmp_path, monkeypatch):
    network, given, _, directory = fresh
    monkeypatch.chdir(tmp_path)
    pathlib.Path("image.png").write_bytes(given["encoded_native"][2])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(usage_line(directory), shell=True, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    logits = network(given["native"][2:3])["logits"][0]
    name, probability = done.stdout.split()
    assert name == NAMES[int(np.argmax(logits))]
    assert float(probability) == pytest.approx(float(tf.reduce_max(tf.nn.softmax(logits))), abs=1e-5)


def test_without_classifier_replacing_an_export(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        network = Network(SPEC, 1).build_variables()
    network.head.layers[0].norm.beta.assign(tf.range(6.0))
    (tmp_path / "export").mkdir()
    for name in (CARD, "stale"):  # an earlier export
        (tmp_path / "export" / name).write_text("{}")
    export_network(network, (), tmp_path / "export")
    assert [p.name for p in tmp_path.iterdir()] == ["export"] and not (tmp_path / "export" / "stale").exists()
    images = tf.random.stateless_uniform([2, 12, 12, 3], [0, 0])
    found = tf.saved_model.load(tmp_path / "export").signatures["serving_default"](images=images)
    assert set(found) == {"features", "features_1", "status"}
    np.testing.assert_allclose(found["features_1"], network(images)["features"][1], atol=1e-5)
    assert "features" in usage_line(tmp_path / "export") and "class_name" not in usage_line(tmp_path / "export")


def test_refuses_what_cannot_be_replaced(tmp_path, monkeypatch):
    network = Network(SPEC, 0).build_variables()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="a directory that it can replace, got [.], in which this process works; give another one"):
        export_network(network, (), ".")
    with pytest.raises(UsageError, match="a directory that it can replace, got /proc, a mount point; give another one"):
        export_network(network, (), "/proc")
    assert not list(tmp_path.iterdir())


def test_refuses_what_is_not_an_export(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    network = Network(SPEC, 0, 3).build_variables()
    with pytest.raises(UsageError, match="earlier export"):
        export_network(network, NAMES, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    with pytest.raises(UsageError, match="3 classes, got 2"):
        export_network(network, NAMES[:2], tmp_path / "export")


def test_behind_a_link_with_limits_beyond_32_bits(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "export").symlink_to("kept")
    export_network(Network(SPEC, 0).build_variables(), (), tmp_path / "export", reading.Limits(*[3_000_000_000] * 3))
    assert (tmp_path / "export").is_symlink() and (tmp_path / "kept" / CARD).exists()
    signatures = tf.saved_model.load(tmp_path / "export").signatures
    assert signatures["serving_default"](images=tf.zeros([2, 12, 12, 3]))["status"].numpy().tolist() == [b"ok"] * 2
    image = tf.io.encode_png(tf.zeros([12, 12, 3], tf.uint8))
    assert signatures["serve_encoded"](encoded=[image, image])["status"].numpy().tolist() == [b"ok"] * 2
