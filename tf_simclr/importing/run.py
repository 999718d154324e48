"""Makes a run directory of released weights, which every later stage takes with `--from`."""

import dataclasses
import pathlib

import numpy as np

from tf_simclr import durable, lock
from tf_simclr.config import NO_IMAGES, Config, replace
from tf_simclr.data.source import FACTS, Data, Source
from tf_simclr.data.storage import Memory
from tf_simclr.errors import UsageError
from tf_simclr.importing.architecture import read_architecture
from tf_simclr.importing.choice import choose_stage
from tf_simclr.importing.matching import check_match, places
from tf_simclr.importing.names import Slot, sort_names
from tf_simclr.importing.read import open_weights
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import setup
from tf_simclr.training.checkpoints import save_network

_SIZES = {"imagenet": 224, "cifar": 32}


def import_run(checkpoint, run_dir, *, stage="auto", selector=-1, image_size=0, class_names=()):
    """Writes released weights as a finished run. Nothing is written before everything is found to fit.

    Args:
      checkpoint: see `read.open_weights`.
      run_dir: a new or empty directory.
      stage: 'pretrain' for encoder and projection head, 'finetune' for encoder, head layers up to the selector, and classifier;
        'auto' for what there is, see `choice.choose_stage`.
      selector: for finetune, the head layer that the classifier sits on (0: pooled features); -1 to find it from widths.
      image_size: side of the network input in pixels; 0 for the released models' 224, or 32 with a cifar stem.
      class_names: names in label order; none are in such files, and empty numbers the classes.

    Returns:
      dict, also written to report/import.json: checkpoint, kind, stage, selector, architecture, classes, parameters (moving statistics
      included); restored, a list of {from, to, shape}; skipped and unused, names by reason; missing, always empty, since a network with
      missing variables is refused.

    Raises:
      UsageError: a file, an architecture or a variable that is refused, or an option that does not fit.
    """
    clock, run = setup.Clock(), RunDirectory(run_dir)
    if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise UsageError(f"--run_dir must be a new or empty directory, got {run.path}, which is neither; give another one")
    weights = open_weights(checkpoint)
    slots, skipped = sort_names(weights.shapes)
    shapes = {slot: weights.shapes[name] for slot, name in slots.items()}
    spec = read_architecture(shapes)
    stage, selector = choose_stage(shapes, spec, weights.pretrained, stage, selector)
    names = _class_names(class_names, shapes, stage)
    data = _no_images(spec, image_size)
    spec = setup.resolve(spec, data.train)
    network = setup.build_network(spec, selector, len(names), seed=1)
    found = places(network)
    unused = _unused(shapes, selector, stage)
    check_match(found, {slot: shape for slot, shape in shapes.items() if slot not in unused})
    for slot, variable in found.items():
        variable.assign(weights.value(slots[slot]))

    config = _settings(spec, stage, selector, run.path)
    report = {
        "checkpoint": str(checkpoint),
        "kind": weights.kind,
        "stage": stage,
        "selector": selector,
        "architecture": dataclasses.asdict(spec),
        "classes": len(names),
        "parameters": sum(v.shape.num_elements() for v in found.values()),
        "restored": [{"from": slots[slot], "to": v.name, "shape": v.shape.as_list()} for slot, v in found.items()],
        "skipped": skipped,
        "missing": [],
        "unused": _by_reason({slots[slot]: reason for slot, reason in unused.items()}),
    }
    with lock.writing():
        setup.open_run(config, data, spec, selector, names, [] if stage == "finetune" else None)
        save_network(run.checkpoints, network)
        run.report.mkdir(exist_ok=True)
        durable.write_json(run.report / "import.json", report)
        run.finish({"imported": pathlib.Path(checkpoint).name, "parameters": report["parameters"], "seconds": clock.seconds()})
    return report


def _class_names(given, shapes, stage):
    """One name for each class; none for pretraining. Raises UsageError for another number of names, or a repeated or empty one."""
    if stage == "pretrain":
        if given:
            raise UsageError(f"--class_names needs weights with a classifier, got {len(given)} names for a pretraining; leave them out")
        return ()
    classes = shapes[Slot("classifier", 0, "kernel")][1]
    names = tuple(given) or tuple(str(i) for i in range(classes))
    if len(names) != classes:
        raise UsageError(f"--class_names must have one line for each of the {classes} classes, got {len(names)}; give them in label order")
    if "" in names or len(set(names)) < classes:
        twice = sorted({name for name in names if not name or names.count(name) > 1})
        raise UsageError(f"class names must differ and not be empty, got {twice[0]!r} more than once or empty; mend the file")
    return names


def _unused(shapes, selector, stage):
    """Variables that the network has no use for, with the reason."""
    reasons = {slot: "head layer behind the classifier's" for slot in shapes if slot.part == "head" and slot.index >= selector}
    if stage == "pretrain":
        reasons = {slot: "classifier of a pretrained model" for slot in shapes if slot.part == "classifier"}
    return reasons


def _by_reason(reasons):
    grouped = {}
    for name, reason in reasons.items():
        grouped.setdefault(reason, []).append(name)
    return grouped


def _no_images(spec, image_size):
    """The data of a run that saw none here; its size is the network's."""
    return Data(
        Source(spec.channels, image_size or _SIZES[spec.stem], encoded=np.array([], object), storage=Memory(), facts=np.array([], FACTS))
    )


def _settings(spec, stage, selector, run_dir):
    """Settings of the run: as of one that was trained here, without an earlier run."""
    model = dataclasses.replace(spec, head_layers=max(1, spec.head_layers))  # a setting is at least 1; the run's facts know better
    changes = {"supervised__selector": selector} if stage == "finetune" else {}
    return replace(Config(), stage=stage, run_dir=str(run_dir), model=model, data__dataset=NO_IMAGES, **changes)
