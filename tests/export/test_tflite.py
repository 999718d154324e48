"""Files for small devices: in a process that has only the interpreter of devices, and with every kind of block."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.config import TFLITE_KINDS, Config, ModelConfig, replace
from tf_simclr.data import load_data
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.data.source import Data
from tf_simclr.errors import UsageError
from tf_simclr.evaluation.features import extract
from tf_simclr.evaluation.linear_probe import fit_logistic
from tf_simclr.export.tflite import choose_images, report_tflite, run_file, write_tflite
from tf_simclr.models import resnet
from tf_simclr.models.network import Network
from tf_simclr.stages import setup

# Has LiteRT and NumPy alone: importing the rest fails.
FRESH = """
import sys
sys.modules["tensorflow"] = sys.modules["tf_simclr"] = None
import numpy as np
from ai_edge_litert.interpreter import Interpreter
images, found = np.load("images.npy"), {}
for kind in sys.argv[1:]:
    classify = Interpreter("export/tflite/" + kind + ".tflite").get_signature_runner()
    found[kind] = np.concatenate([classify(images=image[None])["probabilities"] for image in images])
np.savez("found.npz", **found)
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(directory, rows of the report, 1,000 labelled garments, probabilities of the network, those of a fresh process by kind).

    The network is the encoder that ships with a linear probe: it really classifies.
    """
    home = tmp_path_factory.mktemp("tflite")
    data = load_data(replace(Config(), data__dataset="fashion_mnist_8k").data)
    train, test = data.train.take(np.arange(1000)), data.evaluation.take(np.arange(0, 2000, 2))
    shipped = setup.required_parent(replace(Config(), from_run="pretrained:fashion_mnist"), ("pretrain",))
    network = Network(shipped.spec(), 0, 10).build_variables()
    network.encoder.set_weights(setup.load_network(shipped).encoder.get_weights())
    features = extract(network, plain_batches(train, spec=network.spec, batch_size=500))["features"][0]
    network.classifier.set_weights(fit_logistic(features, train.labels, 10, l2=0.01)[:2])
    calibration, scored = choose_images(Data(train, test), network.spec, seed=1)
    write_tflite(network, calibration, TFLITE_KINDS, home / "export")
    rows = report_tflite(network, scored, TFLITE_KINDS, home / "export", home / "report")
    images = (test.images / 255).astype(np.float32)
    np.save(home / "images.npy", images)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-I", "-c", FRESH, *TFLITE_KINDS], cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(home / "found.npz") as found:
        return home, rows, test, tf.nn.softmax(network(images)["logits"]).numpy(), dict(found)


def _accuracy(probabilities, labels):
    return np.mean(probabilities.argmax(axis=1) == labels)


# Weights of 11 significant bits move a probability further than the order of sums does, to the nearest each by up to 0.004.
@pytest.mark.parametrize("kind, tolerance", [("float32", 1e-5), ("float16", 1e-3)])
def test_a_fresh_process_answers_as_the_network_does(written, kind, tolerance):
    _, _, _, expected, found = written
    np.testing.assert_array_equal(found[kind][:200].argmax(axis=1), expected[:200].argmax(axis=1))
    np.testing.assert_allclose(found[kind], expected, atol=tolerance)


def test_eight_bits_cost_at_most_one_point(written):
    _, _, test, expected, found = written
    assert _accuracy(expected, test.labels) > 0.8, "a network that cannot classify: the test could not fail"
    assert _accuracy(found["int8"], test.labels) >= _accuracy(expected, test.labels) - 0.01


def test_eight_bits_everywhere_but_at_the_edges(written):
    file = tf.lite.Interpreter(str(written[0] / "export" / "tflite" / "int8.tflite"))
    file.allocate_tensors()
    edges = {detail["index"] for detail in file.get_input_details() + file.get_output_details()}
    assert {detail["index"] for detail in file.get_tensor_details() if detail["dtype"] == np.float32} == edges and len(edges) == 3


def test_the_report_says_what_each_file_costs(written):
    home, rows, test, expected, found = written
    assert json.loads((home / "report" / "tflite.json").read_text()) == {"rows": rows}
    assert [row["kind"] for row in rows] == list(TFLITE_KINDS)
    for row in rows:
        assert row["bytes"] == (home / "export" / "tflite" / f"{row['kind']}.tflite").stat().st_size
        # In 8 bits, interpreters round differently.
        assert row["accuracy"] == pytest.approx(_accuracy(found[row["kind"]], test.labels), abs=0.01 if row["kind"] == "int8" else 0)
        assert row["accuracy_drop"] == pytest.approx(_accuracy(expected, test.labels) - row["accuracy"])
        assert 0 < row["latency_ms"] < 1000
    sizes = [row["bytes"] for row in rows]
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.4 * sizes[0]
    text = (home / "report" / "tflite.md").read_text()
    assert all(f"| {row['kind']} | " in text and f"| {100 * row['accuracy']:.2f} |" in text for row in rows)


def test_selective_kernels_convert(tmp_path, monkeypatch):
    """With the three-layer stem and the shortcuts of ResNet-D, one of stride 1 and one of stride 2."""
    monkeypatch.setitem(resnet.LAYOUTS, 50, (resnet.Bottleneck, (1, 1)))
    spec = ModelConfig(depth=50, sk=True, stem="imagenet", image_size=33, channels=3, width=0.0625, head_width=6)
    network = tiny.scattered_network(spec, 1)
    brightness = np.linspace(0.1, 1, 8, dtype=np.float32)[:, None, None, None]
    images = brightness * np.random.default_rng(0).random([8, 33, 33, 3], np.float32)
    write_tflite(network, images, ("float32", "int8"), tmp_path)
    expected = network(images)["logits"].numpy()
    spread = np.ptp(expected, axis=0).max()
    assert spread > 1e-2, "all images alike: the test could not fail"
    for kind, tolerance in (("float32", 1e-4), ("int8", 0.2)):
        logits, _ = run_file(tmp_path / "tflite" / f"{kind}.tflite", images[:, None])
        np.testing.assert_allclose(logits, expected, atol=tolerance * spread, err_msg=kind)


def test_without_an_evaluation_split_nothing_is_invented(tmp_path, short_resnet):
    network = tiny.scattered_network(ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=16, channels=1))
    calibration, scored = choose_images(Data(tiny.data().train), network.spec, seed=3)
    assert len(calibration) == len(scored) == 96 and scored.labels is None
    write_tflite(network, calibration, ["float32"], tmp_path)
    (row,) = report_tflite(network, scored, ["float32"], tmp_path, tmp_path / "report")
    assert row["accuracy"] is None and row["accuracy_drop"] is None and row["latency_ms"] > 0


def test_calibration_images_are_drawn_by_the_seed():
    data, spec = tiny.data(train=300), ModelConfig(image_size=16, channels=1)
    first, again, other = (choose_images(data, spec, seed)[0] for seed in (1, 1, 2))
    assert first.shape == (200, 16, 16, 1) and first.max() <= 1 and len(np.unique(first, axis=0)) == 200
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_network_without_a_classifier_is_refused(tmp_path):
    with pytest.raises(UsageError, match="needs a network with a classifier"):
        settings = replace(Config(), stage="export", from_run="pretrained:fashion_mnist", run_dir=str(tmp_path / "export"), tflite="int8")
        tf_simclr.run(settings)
    assert not (tmp_path / "export").exists()
