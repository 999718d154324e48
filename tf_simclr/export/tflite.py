"""A classifier as TFLite files for small devices: converts, and says what each file costs in accuracy."""

import json
import pathlib
import time

import numpy as np
import tensorflow as tf

from tf_simclr import durable
from tf_simclr.data.pipeline import plain_batches
from tf_simclr.errors import UsageError
from tf_simclr.evaluation.features import extract
from tf_simclr.evaluation.report import table
from tf_simclr.export.rounding import round_weights
from tf_simclr.silence import silence

FOLDER = "tflite"
CALIBRATION_IMAGES = 200


def write_tflite(network, calibration_images, kinds, directory):
    """Writes `tflite/KIND.tflite` for every kind into an export.

    All kinds have one signature, and the same code runs them. For one image, which is what a device sees at a time; fixed shapes are
    what every accelerator of a device takes:
      images, float32 [1, S, S, C] in [0, 1] → logits, probabilities, float32 [1, K].

    Args:
      network: a built `models.network.Network` with a classifier.
      calibration_images: float32 [N, S, S, C] in [0, 1], N ≥ 1, for the ranges of int8 and for what float16 rounds.
      kinds: of `config.TFLITE_KINDS`. float32; float16: weights of 16 bits, chosen by `rounding`, computed in 32 where a device has no
        other; int8: weights and everything between them of 8 bits.
      directory: of the export.

    Raises:
      UsageError: the network has no classifier.
    """
    need_classifier(network)
    home = pathlib.Path(directory) / FOLDER
    home.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        _path(directory, kind).write_bytes(_convert(network, kind, calibration_images))


def is_reported(directory, report):
    """Whether what `report_tflite` wrote is of the files that the export in a directory has, by their sizes."""
    written = pathlib.Path(report, "tflite.json")
    rows = json.loads(written.read_text())["rows"] if written.exists() else []
    files = [(_path(directory, row["kind"]), row["bytes"]) for row in rows]
    return bool(files) and all(path.exists() and path.stat().st_size == size for path, size in files)


def forget_report(report):
    """Removes what `report_tflite` wrote."""
    for name in ("tflite.json", "tflite.md"):
        pathlib.Path(report, name).unlink(missing_ok=True)


def report_tflite(network, source, kinds, directory, report):
    """Scores the files of an export and writes tflite.json ({"rows": rows}) and tflite.md.

    Args:
      network: the `Network` that they were made of.
      source: a `Source`, at least one image; with labels in [0, K) it gives accuracies, without it only times.
      kinds: the kinds that `write_tflite` wrote.
      directory: of the export.
      report: directory for the two reports; made when it is missing.

    Returns:
      rows, a list of dicts: kind; bytes; accuracy, fraction in [0, 1], of the likeliest class; accuracy_drop, the network's accuracy minus
      that; both None without labels; latency_ms, median time of one image on one thread of this machine.
    """
    expected, rows = None, []
    if source.labels is not None:
        logits = extract(network, plain_batches(source, spec=network.spec, batch_size=100))["logits"]
        expected = _accuracy(logits, source.labels)
    for kind in kinds:
        path = _path(directory, kind)
        logits, seconds = run_file(path, plain_batches(source, spec=network.spec, batch_size=1))
        accuracy = None if expected is None else _accuracy(logits, source.labels)
        drop = None if expected is None else expected - accuracy
        milliseconds = 1000 * float(np.median(seconds))
        rows.append({"kind": kind, "bytes": path.stat().st_size, "accuracy": accuracy, "accuracy_drop": drop, "latency_ms": milliseconds})
    legend = f"{len(source):,} images, one at a time on one thread of the machine that exported; the drop is from the network itself."
    report = pathlib.Path(report)
    report.mkdir(parents=True, exist_ok=True)
    durable.write_json(report / "tflite.json", {"rows": rows})
    durable.write_text(report / "tflite.md", f"# TFLite\n\n{format_rows(rows)}\n\n{legend}\n")
    return rows


def format_rows(rows):
    """The rows of `report_tflite` as a Markdown table, without a newline at the end."""
    header = ["kind", "kB", "accuracy (%)", "drop (points)", "one image (ms)"]
    cells = [
        [row["kind"], f"{row['bytes'] / 1000:,.0f}", _percent(row["accuracy"]), _percent(row["accuracy_drop"]), f"{row['latency_ms']:.2f}"]
        for row in rows
    ]
    return "\n".join(table(header, cells)).rstrip()


def choose_images(data, spec, seed):
    """Which images calibrate and which score.

    Args:
      data: a `Data`.
      spec: a resolved `ModelConfig`.
      seed: int, of the calibration images, up to 200 of the training split.

    Returns:
      float32 [≤ 200, S, S, C] in [0, 1], and a `Source`: the evaluation split, or the calibration images without labels where it has none.
    """
    drawn = np.random.default_rng(seed).permutation(len(data.train))[:CALIBRATION_IMAGES]
    sample = data.train.take(np.sort(drawn))
    images = np.concatenate(list(plain_batches(sample, spec=spec, batch_size=CALIBRATION_IMAGES)))
    labelled = data.evaluation is not None and data.evaluation.labels is not None
    return images, data.evaluation if labelled else sample.without_labels()


def need_classifier(network):
    """Raises UsageError where a network has no classifier."""
    if network.classifier is None:
        raise UsageError("--tflite needs a network with a classifier, got one without; export a run of finetune, linear_eval or distill")


def run_file(path, images):
    """Runs a file on one image after the other, on one thread.

    Args:
      path: a file that `write_tflite` wrote.
      images: iterable of float32 [1, S, S, C] in [0, 1].

    Returns:
      logits float32 [N, K] and seconds float [N].
    """
    classify = tf.lite.Interpreter(str(path), num_threads=1).get_signature_runner()
    logits, seconds = [], []
    for image in images:
        start = time.perf_counter()
        logits.append(classify(images=image)["logits"][0])
        seconds.append(time.perf_counter() - start)
    return np.stack(logits), np.array(seconds)


def _path(directory, kind):
    return pathlib.Path(directory) / FOLDER / f"{kind}.tflite"


def _convert(network, kind, calibration_images):
    spec = network.spec

    @tf.function(input_signature=[tf.TensorSpec([1, spec.image_size, spec.image_size, spec.channels], tf.float32, name="images")])
    @tf.autograph.experimental.do_not_convert
    def classify(images):
        logits = network(images, training=False)["logits"]
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    # Holds the variables and no Keras object, of which the converter would trace every layer once more.
    holder = tf.Module()
    holder.network_variables = list(network.variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([classify.get_concrete_function()], holder)
    if kind == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # This one set alone: an operation without an 8-bit form is an error, and does not stay float unnoticed.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in calibration_images)
    with silence():  # native code counts its operations there
        content = converter.convert()
    if kind != "float16":
        return content
    return round_weights(content, _convert(network, "float32", calibration_images), calibration_images)


def _accuracy(logits, labels):
    return float(np.mean(logits.argmax(axis=1) == labels))


def _percent(fraction):
    return "" if fraction is None else f"{100 * fraction:.2f}"
