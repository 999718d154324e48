"""The requests that docs/export.md shows for TensorFlow Serving, answered as its REST API answers them."""

import base64
import json
import pathlib
import re
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tiny
from data.images import encode
from google.protobuf.json_format import MessageToDict
from tensorflow.core.protobuf import saved_model_pb2

from tf_simclr.data import decode

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "export.md"
SECTION = re.search(r"\n## TensorFlow Serving\n(.*?)(?=\n## |\Z)", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL).group(1)
COMMANDS = re.findall(r"^curl .*?(?<!\\)$", SECTION, re.DOTALL | re.MULTILINE)
SHOWN = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", SECTION, re.DOTALL)]
PICTURE = np.random.RandomState(0).randint(0, 256, [20, 31, 3], np.uint8)


@pytest.fixture(scope="module")
def served(exported):
    return Served(exported[1])


class Served:
    """An export behind the REST API of TensorFlow Serving (`:predict`), as its documentation describes it.

    A request names a signature and gives `instances`, one entry an image, or `inputs`, whole tensors; strings may be {"b64": text}.
    """

    def __init__(self, directory):
        model = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
        (graph,) = (graph for graph in model.meta_graphs if "serve" in graph.meta_info_def.tags)
        self._protos, self._model = graph.signature_def, tf.saved_model.load(str(directory))

    def predict(self, body):
        name = body.get("signature_name", "serving_default")
        proto = self._protos[name]
        assert proto.method_name == "tensorflow/serving/predict"
        ((argument, info),) = proto.inputs.items()
        by_rows = "instances" in body
        given = body["instances" if by_rows else "inputs"]
        if by_rows and isinstance(given[0], dict) and argument in given[0]:
            given = [row[argument] for row in given]
        elif not by_rows and isinstance(given, dict) and argument in given:
            given = given[argument]
        tensor = tf.constant(strings_of(given), tf.as_dtype(info.dtype))
        sides = [int(d["size"]) for d in MessageToDict(info.tensor_shape)["dim"]]
        assert tensor.shape.rank == len(sides) and all(want in (-1, got) for want, got in zip(sides, tensor.shape))
        outputs = {key: values_of(value) for key, value in self._model.signatures[name](**{argument: tensor}).items()}
        assert set(outputs) == set(proto.outputs) and len(outputs) > 1  # a single output would lose its name
        if not by_rows:
            return json.dumps({"outputs": outputs}, allow_nan=False)
        assert {len(value) for value in outputs.values()} == {len(given)}
        return json.dumps({"predictions": [dict(zip(outputs, row)) for row in zip(*outputs.values())]}, allow_nan=False)


def strings_of(given):
    if isinstance(given, dict):
        return base64.b64decode(given["b64"], validate=True)
    return [strings_of(part) for part in given] if isinstance(given, list) else given


def values_of(tensor):
    """As lists; text as JSON has it, since no name of ours ends in _bytes."""
    return np.char.decode(tensor.numpy().astype(bytes), "utf-8").tolist() if tensor.dtype == tf.string else tensor.numpy().tolist()


def sent(command, folder):
    """The address and the body that a documented command sends, by a curl that only says them."""
    (folder / "image.png").write_bytes(encode(PICTURE))
    (folder / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / "curl").chmod(0o755)
    done = subprocess.run(["bash", "-c", f'PATH=".:$PATH"; {command}'], cwd=folder, capture_output=True, text=True, check=True)
    address, option, body = done.stdout.splitlines()
    assert option == "-d"
    return address, json.loads(body)


def form(value):
    """Keys and types, with the numbers of a list as one."""
    if isinstance(value, dict):
        return {key: form(part) for key, part in value.items()}
    return [form(value[0])] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize("number", range(3))
def test_documented_requests_are_answered_as_shown(number, exported, served, tmp_path):
    assert len(COMMANDS) == 3 and len(SHOWN) == 3
    address, body = sent(COMMANDS[number], tmp_path)
    assert re.fullmatch(r"http://localhost:8501/v1/models/(\w+):predict", address).group(1) in SECTION.partition("curl")[0]
    answer = json.loads(served.predict(body))
    assert form(answer) == form(SHOWN[number])
    if "serve_encoded" in json.dumps(body):
        square = decode.resize_batch(PICTURE[None] / np.float32(255), 12)
    else:
        square = decode.resize_batch(np.repeat(np.float32(body["instances"]), 3, axis=-1), 12)
    logits = exported[0](square)["logits"][0]
    row = answer["predictions"][0] if "predictions" in answer else {key: value[0] for key, value in answer["outputs"].items()}
    np.testing.assert_allclose(row["logits"], logits, atol=1e-4)
    assert row["class_name"] == tiny.CLASSES[np.argmax(logits)] and row["status"] == "ok"


def test_what_is_bad_is_still_json(served):
    text = base64.b64encode(encode(PICTURE)).decode()
    body = {"signature_name": "serve_encoded", "instances": [{"b64": text}, {"b64": ""}, {"b64": text[:40]}]}
    whole, empty, cut = json.loads(served.predict(body))["predictions"]
    assert whole["status"] == "ok" and empty["status"].startswith("must have 1 to") and cut["status"].startswith("must be a whole image")
    assert empty["class_index"] == cut["class_index"] == -1 and not any(empty["probabilities"] + cut["logits"])
    (pixel,) = json.loads(served.predict({"instances": [{"images": [[[7.5]]]}]}))["predictions"]
    assert pixel["status"].startswith("pixels must be in [0, 1]")
