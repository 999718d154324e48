"""The documented conversion to ONNX, and its result in a process that has only onnxruntime."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tiny

from tf_simclr.config import Config, ModelConfig, replace
from tf_simclr.data import load_data
from tf_simclr.export.saved_model import export_network

for package in ("onnx", "tf2onnx", "onnxruntime"):
    pytest.importorskip(package)

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "export.md"

# Has onnxruntime and NumPy alone: importing the rest fails.
FRESH = """
import sys
sys.modules["tensorflow"] = sys.modules["tf_simclr"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(names, {"images": np.load("images.npy")})))
found["one"] = session.run(["logits"], {"images": np.load("images.npy")[:1]})[0]
np.savez("found.npz", **found)
"""


def test_onnxruntime_alone_answers_as_the_network_does(tmp_path, short_resnet):
    spec = ModelConfig(depth=10, width=0.0625, sk=True, stem="cifar2", image_size=28, channels=1, head_width=6)
    network = tiny.scattered_network(spec, 2, 10)
    images = load_data(replace(Config(), data__dataset="fashion_mnist_8k").data).evaluation.images[:200] / np.float32(255)
    # Centred, so that not all images fall into one class.
    network.classifier.bias.assign_sub(tf.reduce_mean(network(images)["logits"], axis=0))
    np.save(tmp_path / "images.npy", images)
    export_network(network, [str(i) for i in range(10)], tmp_path / "export")
    (command,) = re.findall(r"^\S*python (-m tf2onnx.*)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    arguments = shlex.split(command.replace("runs/student/export", "export"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for step in (arguments, ["-I", "-c", FRESH]):
        done = subprocess.run([sys.executable, *step], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    outputs = network(images)
    expected = {f"features_{i}" if i else "features": x for i, x in enumerate(outputs["features"])}
    expected |= {"logits": outputs["logits"], "probabilities": tf.nn.softmax(outputs["logits"]), "one": outputs["logits"][:1]}
    with np.load(tmp_path / "found.npz") as found:
        assert set(found) == set(expected)
        best = np.argmax(expected["probabilities"], axis=1)
        assert len(set(best)) > 3, "all images alike: the test could not fail"
        np.testing.assert_array_equal(found["probabilities"].argmax(axis=1), best)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, atol=1e-3, err_msg=name)
