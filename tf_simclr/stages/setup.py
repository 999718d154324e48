"""What every stage does before it starts: inherit from the earlier run, resolve the architecture, find the data, open the run."""

import contextlib
import dataclasses
import functools
import pathlib
import platform
import random
import time

import numpy as np
import tensorflow as tf
from absl import logging

import tf_simclr
from tf_simclr import shipped
from tf_simclr.combinations import RESNET, check_architecture
from tf_simclr.config import IN_MEMORY, STUDENT, WHERE_FROM, DataConfig, ModelConfig, from_dict, replace
from tf_simclr.data import load_data
from tf_simclr.data.holdout import hold_out
from tf_simclr.data.load import brief, name_of
from tf_simclr.data.pipeline import training_batches
from tf_simclr.errors import UsageError
from tf_simclr.export.load import read_card
from tf_simclr.models.backbones import check_backbone
from tf_simclr.models.network import Network
from tf_simclr.models.resnet import stem_for
from tf_simclr.optimizers.build import check_optimizer
from tf_simclr.option import options
from tf_simclr.run_directory import RunDirectory, among_images, last_metrics, lineage, write_quarantine
from tf_simclr.stages import replicas
from tf_simclr.training.checkpoints import restore_network

_EVALUATION = ("eval_on", "holdout_fraction")
_LIMITS = ("max_pixels", "max_bytes", "max_bad_fraction", "allow_overlap")  # they decide which images there may be
_INHERITED = (*WHERE_FROM, *_EVALUATION, *_LIMITS)


def parent_of(config, stages=()):
    """The earlier run that `--from` names, or None.

    Args:
      config: a `Config`.
      stages: the stages that it may be a run of; empty for any.

    Raises:
      UsageError: no run there, one of another stage, or one that did not finish.
    """
    if not config.from_run:
        return None
    parent = RunDirectory(shipped.locate(config.from_run))
    stage = parent.config().stage
    if stages and stage not in stages:
        raise UsageError(f"--stage={config.stage} needs --from to be a run of {' or '.join(stages)}, got {parent.path}, a run of {stage}")
    if parent.result is None:
        raise UsageError(f"--from must be a finished run, but {parent.path} stopped before its end; run its command again to finish it")
    return parent


def required_parent(config, stages):
    """As `parent_of`, where there must be one."""
    if not config.from_run:
        raise UsageError(f"--stage={config.stage} needs --from, the directory of a finished run of {' or '.join(stages)}, got none")
    return parent_of(config, stages)


def with_data_of(config, parent, given=None):
    """The settings with the data of the earlier run filled in where none are given.

    1. `--dataset` or `--data_dir` given: nothing is taken over.
    2. else, `Data` given in Python: they are recorded as such, and only whether and how much is held out is taken over.
    3. else, with an earlier run: its data set, directories, evaluation split and limits on images, each where it is not given. One of
       `--eval_data_dir` and `--eval_on=holdout` takes the place of the other.
    4. else the bundled data set; evaluation on the test split.
    """
    data, changes = config.data, {}
    theirs = DataConfig() if parent is None else parent.config().data
    own = {name for name in _INHERITED if f"data__{name}" in config.given or getattr(data, name) != getattr(DataConfig, name)}
    if data.eval_on == "auto":
        own.discard("eval_on")
    if data.dataset or data.data_dir:
        changes["dataset"] = name_of(data)
    elif given is not None:
        if data.eval_on == "holdout" and given.evaluation is not None:
            raise UsageError("evaluation images must be given or held out by eval_on=holdout, got both; drop one")
        can_hold_out = given.evaluation is None and given.train.labels is not None
        changes = {name: getattr(theirs, name) for name in _EVALUATION if name not in own and can_hold_out}
        changes["dataset"] = IN_MEMORY
    elif parent is not None:
        own -= {"dataset", "data_dir"}  # empty, if they are given
        changes = {name: getattr(theirs, name) for name in _INHERITED if name not in own}
        if data.eval_data_dir and "eval_on" not in own:
            changes["eval_on"] = "test"
        if data.eval_on == "holdout" and "eval_data_dir" not in own:
            changes["eval_data_dir"] = ""
    else:
        changes["dataset"] = name_of(data)
    if changes.get("eval_on", data.eval_on) == "auto":
        changes["eval_on"] = "test"
    return replace(config, **{f"data__{name}": value for name, value in changes.items()})


def find_data(config, given, parent=None):
    """The data: as given, else as the settings name them.

    Args:
      config: the `Config`.
      given: a `Data`, or None. With `eval_on=holdout` a part of its training images is held out, unless it has others.
      parent: the `RunDirectory` of the earlier stage, or None.

    Raises:
      UsageError: see `load_data`, `hold_out` and, of stages with a directory of their own, `check_apart`; or a separate evaluation set
        (`--eval_data_dir`) with images that an earlier stage was trained on.
    """
    if config.stage in _WITH_PICTURES:
        check_apart(config, config.run_dir or default_home(config))
    data = load_data(config.data) if given is None else given
    if config.data.eval_on == "holdout" and data.evaluation is None:
        data = hold_out(data.train, config.data.holdout_fraction)
    if parent is not None and data.evaluation is not None:
        _check_ancestors(parent, data, config.data)
    return data


def _check_ancestors(parent, data, settings):
    """Looks for the evaluation images among those that earlier runs were trained on.

    Where they are held out now, it was the user who did not hold them out before, and a warning has to do.
    """
    digests, known = data.evaluation.digests(), data.train.fingerprint()
    for run in lineage(parent, same=False):
        if run.facts()["data"]["fingerprint"] != known:
            seen = np.flatnonzero(np.isin(digests, run.contents()))
            if len(seen):
                names = "; ".join(data.evaluation.name(i) for i in seen[:3])
                found = f"{len(seen):,} evaluation images were trained on in {run.path}: {names}"
                if settings.eval_data_dir and not settings.allow_overlap:
                    raise UsageError(
                        f"evaluation images must be new to the earlier stages, but {found}; remove them, or say --allow_overlap"
                    )
                logging.warning("%s", found)


def resolve(model, source):
    """The architecture with nothing left open: image size and channels are the data's, the stem follows the size.

    Args:
      model: a `ModelConfig`.
      source: the training `Source`.

    Returns:
      A `ModelConfig` without 0 or 'auto' (head_width 0 stays: it follows the encoder's width; so does what describes our ResNet
      alone, beside another backbone).

    Raises:
      UsageError: images too small for a network, or an unknown backbone.
    """
    check_backbone(model)
    size = model.image_size or source.size
    if size < 8:
        raise UsageError(f"images must be at least 8 pixels wide and high, got {size}; give a larger --image_size")
    stem = stem_for(size) if model.stem == "auto" and not model.backbone else model.stem
    return dataclasses.replace(model, image_size=size, channels=model.channels or source.channels, stem=stem)


_HEAD = ("head_layers", "head_width", "head_dim")
_OF_TEACHER = (*STUDENT, *RESNET)  # what a student may have otherwise
_OPEN = {"backbone_size": 0, "stem": "auto", "image_size": 0, "channels": 0, "head_width": 0}  # which leave it to the run, or to the data


def spec_of(parent, config, new_head=False, but=()):
    """The earlier run's architecture; with `new_head`, an encoder that was imported without a projection head has that of the settings.

    Settings named in `but` decide nothing.

    Raises:
      UsageError: a model setting was given that differs from it, or its backbone is not known in this process.
    """
    spec = parent.spec()
    check_backbone(spec)
    if not but:
        check_architecture(config.model, spec.backbone)
    if new_head and not spec.head_layers:
        spec = dataclasses.replace(spec, **{name: getattr(config.model, name) for name in _HEAD})
    _check_same(config, spec, parent.path, but)
    return spec


def check_export(config, directory):
    """Raises UsageError where a model setting was given that differs from that of an export; of a student's, see `load_finished`."""
    card = read_card(directory)
    (*_, last) = card.get("history") or [{"stage": "", "settings": {}}]
    student = last["stage"] == "distill" and set(STUDENT) & set(last["settings"].get("student", {}))
    _check_same(config, from_dict(ModelConfig, card["architecture"]), directory, but=_OF_TEACHER if student else ())


def _check_same(config, spec, where, but=()):
    for field in options(ModelConfig):
        asked, theirs = getattr(config.model, field.name), getattr(spec, field.name)
        silent = asked == field.default and f"model__{field.name}" not in config.given
        if asked != theirs and not silent and asked != _OPEN.get(field.name) and field.name not in but:
            raise UsageError(f"--{field.name} must be that of {where}, {theirs}, got {asked}; leave it out, or pretrain with it")


def architecture(config, source, parent=None, new_head=False):
    """The architecture of a run that may start from an earlier one: `spec_of`, or what the settings and the training `Source` say."""
    return spec_of(parent, config, new_head) if parent else resolve(config.model, source)


def student_spec(spec, student):
    """The student's architecture: its own backbone; or the teacher's, a ResNet with the student's depth and width.

    Args:
      spec: the teacher's, a resolved `ModelConfig`.
      student: a `StudentConfig`.

    Raises:
      UsageError: a backbone that is not known here, or settings of a ResNet beside one.
    """
    check_backbone(student)
    if student.backbone:
        ours = {name: getattr(ModelConfig, name) for name in RESNET}
        return dataclasses.replace(spec, backbone=student.backbone, backbone_size=student.backbone_size, **ours)
    check_architecture(student, spec.backbone, "student_")
    return dataclasses.replace(spec, width=student.width or spec.width, depth=student.depth or spec.depth)


def check_selector(selector, spec, flag="selector"):
    """Raises UsageError for a layer that the projection head does not have."""
    if selector > spec.head_layers:
        raise UsageError(
            f"--{flag} must be at most {spec.head_layers}, the layers of the projection head, got {selector};"
            " give one of them, or 0 for the pooled features"
        )


def check_init(fit, selector, of_teacher):
    """Raises UsageError for a student that starts from its teacher's weights and has other layers."""
    if fit.init == "teacher" and selector != of_teacher:
        raise UsageError(f"a student that starts as its teacher needs its selector, {of_teacher}, got {selector}; give --init=random")


def need_labels(source, config):
    """Raises UsageError where a stage needs labels and the training images have none."""
    if source.labels is None:
        raise UsageError(
            f"--stage={config.stage} needs labels, but the images of --dataset={config.data.dataset} have none;"
            " give labelled images, or use --stage=pretrain"
        )


def need_evaluation(data, config):
    """The labelled evaluation split. Raises UsageError where there is none."""
    if data.evaluation is None or data.evaluation.labels is None:
        raise UsageError(
            f"--stage={config.stage} needs labelled evaluation images, but --dataset={config.data.dataset} has none;"
            " give --eval_data_dir, or --eval_on=holdout"
        )
    return data.evaluation


def check_classes(source, parent):
    """Raises UsageError where a source's classes are not those of the earlier run in the same order."""
    names = parent.facts()["class_names"]
    if list(source.class_names) != names:
        raise UsageError(
            f"the classes must be those of {parent.path} in the same order, {brief(names)}, got"
            f" {brief(source.class_names)}; give data of these classes, or train on the others"
        )


def batches_of(source, spec, fit, config, **choices):
    """`make_batches` for `training.fit.train`: the source's batches for a span of steps, views by the `FitConfig`."""
    common = {"spec": spec, "policy": fit, "seed": config.seed, "batch_size": fit.batch_size, "on_device": config.augment_on == "device"}
    return functools.partial(training_batches, source, **common, **choices)


def check_fit(fit, replicas, examples=None, section=""):
    """Raises UsageError for a batch that does not divide over the replicas, or is larger than the `examples` there are, and for an
    optimizer whose package is missing."""
    check_optimizer(fit)
    flag = f"--{section}_batch_size" if section else "--batch_size"
    if fit.batch_size % replicas:
        raise UsageError(f"{flag} must be a multiple of the {replicas} replicas, got {fit.batch_size}; make it a multiple")
    if examples == 1:
        raise UsageError("contrastive pretraining needs at least 2 images, got 1; give more")
    if examples is not None and not 2 <= fit.batch_size <= examples:
        raise UsageError(
            f"contrastive pretraining needs a batch of 2 to {examples}, the number of images, which it tells apart,"
            f" got {flag}={fit.batch_size}; give another one"
        )


def check_micro_batch(fit, replicas):
    """Raises UsageError for micro-batches that do not fill every replica's part of a batch."""
    part = fit.batch_size // replicas
    if fit.micro_batch_size and part % fit.micro_batch_size:
        raise UsageError(
            f"--micro_batch_size must divide the {part} images of a replica (batch_size={fit.batch_size} over {replicas}), got"
            f" {fit.micro_batch_size}; give a divisor, or 0 for no micro-batches"
        )


@contextlib.contextmanager
def seeded(seed):
    """Makes Keras' initialisers draw from `seed`; Python's and NumPy's generators are put back afterwards."""
    states = random.getstate(), np.random.get_state()
    tf.keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


@contextlib.contextmanager
def computing_in(precision):
    """Makes Keras' layers compute in a precision: float32, mixed_bfloat16 or mixed_float16. Their weights are float32."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def build_network(spec, head_layers, num_classes, seed, precision="float32"):
    """A `Network` with its variables, initialised from the seed alone. Call it under the strategy's scope."""
    with seeded(seed), computing_in(precision):
        return Network(spec, head_layers, num_classes).build_variables()


def load_network(run, precision="float32"):
    """The trained `Network` of a run: encoder, the head layers it kept, its classifier if it has one."""
    facts = run.facts()
    with computing_in(precision):
        network = Network(run.spec(), facts["selector"], len(facts["class_names"])).build_variables()
    restore_network(run.weights, network)
    return network


def load_finished(parent, config):
    """`load_network` of the earlier run, for stages that train nothing.

    Raises:
      UsageError: see `spec_of`. What makes a student another architecture is its teacher's in the settings, as one recipe holds both.
    """
    theirs = parent.config()
    spec_of(parent, config, but=_OF_TEACHER if theirs.stage == "distill" and theirs.student.is_another else ())
    return load_network(parent)


def default_home(config):
    """The directory of a run that was given none: runs/DATASET/STAGE."""
    return pathlib.Path("runs") / config.data.dataset.replace(":", "_").replace("/", "_") / config.stage


_WITH_PICTURES = ("inspect", "preview", "pretrain", "linear_eval", "finetune", "distill", "pipeline")


def check_apart(config, directory):
    """Raises UsageError for a directory of pictures among the images of a folder, where they would be taken for images later.

    A run that is there already goes on, and so does a pipeline.
    """
    directory = pathlib.Path(directory)
    there = any((home / "config.json").exists() for home in (directory, directory.parent))
    if not there and (name := among_images(directory, config.data)):
        raise UsageError(
            f"--run_dir must lie outside of the images, whose folder would hold its pictures as well, got {directory} below"
            f" --{name}={getattr(config.data, name)}; give another --run_dir, or move the images to a folder of their own"
        )


def open_run(config, data, spec, selector, class_names=(), label_indices=None, parent=None):
    """Starts (or continues) the run directory and records what is known before training.

    Args:
      config: the `Config`, data filled in.
      data: the `Data`.
      spec: the resolved `ModelConfig`.
      selector: head layers kept; the last of them is what a classifier sits on.
      class_names: names in label order; empty without a classifier.
      label_indices: int [M], the training images whose labels are used, or None.
      parent: the `RunDirectory` of the earlier stage, or None.

    Returns:
      The `RunDirectory`.

    Raises:
      UsageError: the earlier run goes back to it; see also `RunDirectory.start`.
    """
    run = RunDirectory(config.run_dir or default_home(config), writes=replicas.is_chief(), alone=replicas.alone())
    if any(run.path.resolve() == earlier.path.resolve() for earlier in lineage(parent, same=False)):
        raise UsageError(f"--run_dir must be none of the runs that --from goes back to, got {run.path}; give a new directory")
    evaluation = data.evaluation
    run.start(
        config,
        {
            "model": dataclasses.asdict(spec),
            "selector": selector,
            "class_names": list(class_names),
            "label_indices": None if label_indices is None else [int(i) for i in label_indices],
            "data": {
                "images": len(data.train),
                "evaluation_images": None if evaluation is None else len(evaluation),
                "fingerprint": data.train.fingerprint(),
                "evaluation_fingerprint": None if evaluation is None else evaluation.fingerprint(),
            },
            "parent": None if parent is None else {"path": str(parent.path), "identity": parent.identity()},
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "tf_simclr": tf_simclr.__version__,
            },
        },
    )
    replicas.meet()  # else another worker might take for finished what is only now set aside
    if run.writes:  # even where those of the earlier run are the same: that may be moved
        run.record_contents(data.train.digests())
    if run.writes and data.bad:
        write_quarantine(run.path, data.bad)
        logging.warning("images left out: %d, listed in %s", len(data.bad), run.path / "quarantine.csv")
    logging.info("%s in %s", config.stage, run.path)
    return run


def finished(run, clock=None):
    """The result of a run that needs no more work, or None: then the clock goes on from what earlier processes trained of it."""
    if run.result is not None:
        logging.info("%s is finished already: its result is returned; give another --run_dir to run again", run.path)
    elif clock is not None:
        clock.add(last_metrics(run.metrics).get("seconds", 0.0))
    return run.result


def conclude(run, make_result):
    """Marks a run as finished. The process that writes makes its result, the others wait for it; all return it.

    Args:
      run: the `RunDirectory`.
      make_result: called without arguments, returns a JSON-able dict.
    """
    if run.writes:
        run.finish(make_result())
    replicas.meet()
    return run.result


class Clock:
    """Seconds since it was made, and those that were added."""

    def __init__(self):
        self._start = time.perf_counter()

    def add(self, seconds):
        self._start -= seconds

    def seconds(self):
        return time.perf_counter() - self._start
