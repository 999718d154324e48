"""The model card: what an exported network was trained on and how, how well it does, and how to load it."""

import dataclasses
import pathlib

from scipy.stats import binomtest

from tf_simclr.config import Config, used_settings
from tf_simclr.evaluation.report import plain, table
from tf_simclr.run_directory import lineage, read_object

NOT_STATED = "not stated"
_LEFT_OUT = ("stage", "from_run", "data_dir", "unlabeled_dir", "eval_data_dir")  # said elsewhere; where files lay is nobody else's business
_SCORES = ("images", "top1", "top5", "balanced_accuracy", "ece", "per_class", "split")

_USE = """```python
import tensorflow as tf

model = tf.saved_model.load(DIRECTORY)  # a SavedModel is a program: load those that you trust
{line}
```

`tf_simclr.load_export(DIRECTORY)` compares every file with its SHA-256 in `manifest.json` first. As a layer of
Keras 2 that trains on: `hub.KerasLayer(DIRECTORY, trainable=True)` gives the pooled features{layers}."""
_LAYERS = ', `arguments={"selector": 1}` those of the head\'s first layer'
_CLASSIFY = """answer = model.signatures["serve_encoded"](encoded=tf.constant([open("image.jpg", "rb").read()]))
print(answer["class_name"], answer["probabilities"], answer["status"])"""
_EMBED = """answer = model.signatures["serve_encoded"](encoded=tf.constant([open("image.jpg", "rb").read()]))
print(answer["features"], answer["status"])"""


def describe(run, config):
    """What a run's own files tell of its network, as data that JSON can hold.

    Args:
      run: the finished `RunDirectory`.
      config: the `Config` of the export; its license and data_license.

    Returns:
      dict: run (the name of its directory); license, data_license (text); history, list from the first stage to the last of stage, run,
      settings (those that differ from the defaults), data (as recorded), labels (how many were used), versions and result; evaluation,
      of images, top1, interval (of 95 %, Wilson), balanced_accuracy, ece, per_class and split, all fractions, or None where the run was
      not evaluated.
    """
    return {
        "run": run.path.name,
        "license": config.license or NOT_STATED,
        "data_license": config.data_license or NOT_STATED,
        "history": [*reversed([*_stages(run)])],
        "evaluation": _evaluation(run),
    }


def _stages(last):
    """The stages that led to a run, the last one first; one whose directory is gone, or has another run by now, ends the list."""
    for run in lineage(last):
        facts, config = run.facts(), run.config()
        used = facts["label_indices"]
        yield {
            "stage": config.stage,
            "run": run.path.name,
            "settings": _changed(config),
            "data": facts["data"],
            "labels": (run.result or {}).get("labels", None if used is None else len(used)),
            "versions": facts["versions"],
            "result": run.result,
        }
    if config.from_run:
        name = pathlib.Path(config.from_run).name
        yield {"stage": "unknown", "run": name, "settings": {}, "data": {}, "labels": None, "versions": {}, "result": None}


def _changed(config):
    """{section: {setting: value}} of what decided the result of a stage and is not the default; the top level is `run`."""
    standard, changed = dataclasses.asdict(Config()), {}
    for name, value in used_settings(config).items():
        section, values, usual = (name, value, standard[name]) if isinstance(value, dict) else ("run", {name: value}, standard)
        different = {key: x for key, x in values.items() if x != usual[key] and key not in _LEFT_OUT}
        if different:
            changed.setdefault(section, {}).update(different)
    return changed


def _evaluation(run):
    path = run.report / "evaluation.json"
    if not path.exists():
        return None
    scores = {key: value for key, value in read_object(path).items() if key in _SCORES}
    hits = round(scores["top1"] * scores["images"])
    interval = binomtest(hits, scores["images"]).proportion_ci(method="wilson")
    # A report of an earlier version does not say what it scored.
    return {"split": run.config().data.eval_on, **scores, "interval": [interval.low, interval.high]}


def to_markdown(card):
    """The card as Markdown.

    Args:
      card: what `saved_model.export_network` writes as JSON: class_names, image_size, channels, selector, parameters, limits,
        and, where the network came from a run, what `describe` returns.
    """
    lines = [f"# {plain(card.get('run', 'A network of tf_simclr'))}", ""]
    kind = f"A classifier of {len(card['class_names']):,} classes" if card["class_names"] else "An encoder"
    architecture = card["architecture"]
    name = architecture.get("backbone") or f"ResNet-{architecture['depth']}, width {architecture['width']:g}"
    lines += [
        f"{kind}: {plain(name)}{', selective kernels' if architecture['sk'] else ''}, {card['selector']} layers of the projection head,"
        f" {card['parameters']:,} parameters; trained with tf\\_simclr {card['versions']['tf_simclr']}.",
        f"Input: {card['image_size']} x {card['image_size']} pixels, {'RGB' if card['channels'] == 3 else 'grey'};"
        " other sizes are resized.",
        "",
    ]
    if "history" in card:
        lines += _history(card) + _scores(card["evaluation"])
        lines += ["## Licences", "", f"Weights: {plain(card['license'])}. Training data: {plain(card['data_license'])}.", ""]
    limits = [[name, f"{value:,}"] for name, value in card["limits"].items()]
    lines += [
        "## Use",
        "",
        _USE.format(line=_CLASSIFY if card["class_names"] else _EMBED, layers=_LAYERS if card["selector"] else ""),
        "",
        *table(["limit of a request", "at most"], limits),
    ]
    return "\n".join(lines)


def _history(card):
    rows, settings = [], []
    for stage in card["history"]:
        data = stage["data"]
        source = stage["settings"].get("data", {}).get("dataset", "")
        labels = "" if stage["labels"] is None else f"{stage['labels']:,}"
        rows.append([stage["stage"], source, f"{data['images']:,}" if data else "", labels, data.get("fingerprint", "")[:16]])
        given = {f"{s}.{k}" if s != "run" else k: v for s, values in stage["settings"].items() for k, v in values.items()}
        settings.append(f"- {stage['stage']}: " + plain(", ".join(f"{name} {value}" for name, value in given.items()) or "none"))
    return [
        *("## Training", ""),
        *table(["stage", "data", "images", "labels used", "fingerprint"], rows),
        *("Settings that are not the defaults:", "", *settings, ""),
    ]


def _scores(evaluation):
    if evaluation is None:
        return ["## Evaluation", "", "Not evaluated.", ""]
    percent = [("Top-5 accuracy", "top5"), ("Balanced accuracy", "balanced_accuracy"), ("Expected calibration error", "ece")]
    low, high = evaluation["interval"]
    rows = [["Top-1 accuracy", f"{100 * evaluation['top1']:.2f} (95 %: {100 * low:.2f} to {100 * high:.2f})"]]
    rows += [[name, f"{100 * evaluation[key]:.2f}"] for name, key in percent if key in evaluation]
    classes = [
        [c["name"], f"{c['images']:,}", "" if c["accuracy"] is None else f"{100 * c['accuracy']:.1f}"] for c in evaluation["per_class"]
    ]
    split = "a hold-out of the training images" if evaluation["split"] == "holdout" else "the evaluation images"
    return [
        *("## Evaluation", "", f"On {split}, {evaluation['images']:,} of them.", ""),
        *table(["score", "%"], rows),
        *table(["class", "images", "accuracy (%)"], classes),
    ]
