"""Distillation with unlabelled images: into the same architecture, or into another, usually smaller one (paper, section 2)."""

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr.combinations import RESNET
from tf_simclr.data.labels import draw_labels
from tf_simclr.data.load import brief
from tf_simclr.data.pipeline import LABELLED_STREAM
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import lineage
from tf_simclr.stages import replicas, setup
from tf_simclr.stages.evaluate import finish_classifier
from tf_simclr.training.balance import balance
from tf_simclr.training.checkpoints import restore_network
from tf_simclr.training.fit import Duration, train
from tf_simclr.training.models import DistillationModel

TEACHERS = ("finetune", "distill", "linear_eval")


def run(config, data=None):
    """Trains a student to match the teacher's softened probabilities on all training images.

    The architecture is the teacher's; `student.backbone`, `depth` or `width` changes it, and then the settings are those of
    the `student` section instead of `distill`.

    Returns:
      dict: see `evaluate.finish_classifier`.
    """
    clock = setup.Clock()
    parent = setup.required_parent(config, TEACHERS)
    config = setup.with_data_of(config, parent, data)
    data = setup.find_data(config, data, parent)
    teacher_spec, facts = setup.spec_of(parent, config), parent.facts()
    fit = config.student if config.student.is_another else config.distill
    spec = setup.student_spec(teacher_spec, config.student)
    selector = facts["selector"] if fit.selector < 0 else fit.selector
    setup.check_selector(selector, spec)
    setup.check_init(fit, selector, facts["selector"])
    ancestor = _pretrained(parent, spec) if fit.init == "pretrained" else None
    setup.need_evaluation(data, config)
    names = tuple(facts["class_names"])
    if data.evaluation.class_names != names:
        raise UsageError(
            f"the classes must be the teacher's in the same order, {brief(names)}, got {brief(data.evaluation.class_names)};"
            " give data of these classes, or another teacher"
        )
    # Labels reach the student through its teacher, too.
    theirs, taught = _labels_of(facts, data.train), parent.result.get("labels", len(facts["label_indices"] or ()))
    labelled = _labels_in_use(config, data, theirs, taught) if fit.alpha < 1 else ()
    used = theirs if fit.alpha == 1 else list(dict.fromkeys([*(theirs or ()), *map(int, labelled)]))
    strategy = replicas.make_strategy(config)
    setup.check_fit(fit, strategy.num_replicas_in_sync)
    run = setup.open_run(config, data, spec, selector, names, used, parent)
    if (result := setup.finished(run, clock)) is not None:
        return result
    with strategy.scope():
        teacher = setup.load_network(parent, config.precision)
        if fit.balance:
            balance(teacher, data.train, config.eval_batch_size)
        network = setup.build_network(spec, selector, len(names), config.seed, config.precision)
        if fit.init == "teacher":
            network.set_weights(teacher.get_weights())
        elif fit.init == "pretrained":
            restore_network(ancestor.weights, network, classifier=False)
        model = DistillationModel(network, teacher, fit.temperature, fit.alpha)
        sources, parts = {}, {}
        if fit.alpha > 0:
            sources["unlabelled"] = data.train.without_labels()
            parts["unlabelled"] = setup.batches_of(sources["unlabelled"], spec, fit, config)
        if fit.alpha < 1:
            sources["labelled"] = data.train.take(labelled)
            parts["labelled"] = setup.batches_of(sources["labelled"], spec, fit, config, stream=LABELLED_STREAM)

        def batches(**steps):
            return tf.data.Dataset.zip({key: make(**steps) for key, make in parts.items()})

        examples = len(data.train) if fit.alpha > 0 else len(labelled)
        train(model, fit, Duration.of(fit, examples), batches, sources, run, config)
    return finish_classifier(network, data, config, run, clock, labels=taught + len({*(used or ())} - {*(theirs or ())}))


def _pretrained(teacher, spec):
    """The pretraining that a teacher goes back to. Raises UsageError where there is none, or it has another encoder than `spec`."""
    for run in lineage(teacher):
        if run.config().stage == "pretrain":
            break
    else:
        start = run.config().from_run
        reason = f"goes back to {start}, which is gone or was trained anew" if start else "started at random"
        raise UsageError(f"--init=pretrained needs a teacher that was pretrained, but {run.path} {reason}; give --init=random")
    mine, theirs = ({name: getattr(of, name) for name in ("backbone", *RESNET)} for of in (spec, run.spec()))
    if other := [name for name in mine if mine[name] != theirs[name]]:
        raise UsageError(
            f"--init=pretrained needs a student with the encoder that was pretrained in {run.path},"
            f" {', '.join(f'{name}={theirs[name]}' for name in other)}, got {', '.join(f'{name}={mine[name]}' for name in other)};"
            " give --init=random"
        )
    return run


def _labels_of(facts, train):
    """Indices of the images whose labels the teacher learnt from, or None where those are not the first images of `train`."""
    known, count = facts["data"]["fingerprint"], facts["data"]["images"]
    if not facts["label_indices"] or count > len(train):
        return None
    first = train if count == len(train) else train.take(np.arange(count))
    return facts["label_indices"] if first.fingerprint() == known else None


def _labels_in_use(config, data, theirs, taught):
    """Indices of the labelled images: as the settings limit them, else the teacher's own, on the same data."""
    setup.need_labels(data.train, config)
    limited = config.data.labels_per_class or config.data.num_labels or config.data.label_fraction
    if not limited and theirs:
        return theirs
    drawn = draw_labels(data.train.labels, data.train.class_names, config.data)
    if (new := len({*map(int, drawn)} - {*(theirs or ())})) and taught:
        others = "see --label_seed" if theirs else "those were of other images"
        logging.warning("%d of the %d labels for the student are not among the %d of its teacher; %s", new, len(drawn), taught, others)
    return drawn
