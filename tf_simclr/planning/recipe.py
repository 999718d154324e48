"""Which trainings a recipe stands for, from its settings and the shape of its data alone."""

import collections
import dataclasses

import numpy as np

from tf_simclr import shipped
from tf_simclr.config import FitConfig, ModelConfig
from tf_simclr.data.labels import count as label_count
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import pipeline, setup
from tf_simclr.training.fit import Duration

# Where to look in the settings, and which method's network is the teacher.
_SECTIONS = {
    "supervised": "supervised",
    "finetune": "finetune",
    "finetune_shipped": "finetune",
    "self_distill": "distill",
    "student": "student",
}


@dataclasses.dataclass(frozen=True)
class Problem:
    """The shape of the data.

    Attributes:
      images: training images.
      labels: those of them whose label is used.
      classes: 0 where there are no labels.
      size: side of an image in pixels.
      channels: 1 or 3.
    """

    images: int
    labels: int
    classes: int
    size: int
    channels: int

    @classmethod
    def of(cls, config, data=None):
        """The shape that the settings state (`images`, `classes`), where they do, else that of the data.

        Args:
          config: a `Config`.
          data: a `Data`, or None: then what the settings name is loaded, unless they state the shape.

        Raises:
          UsageError: the shape is stated without an image size; see also `load_data`.
        """
        parent = setup.parent_of(config, ("pretrain",))
        model, source = parent.spec() if parent else config.model, None
        if data is None and config.images:
            if not model.image_size:
                raise UsageError("--images, which states data instead of reading them, needs --image_size, got none; give it as well")
            images, classes, size, channels = config.images, config.classes, model.image_size, model.channels or 3
        else:
            source = setup.find_data(setup.with_data_of(config, parent, data), data).train
            images, size, channels = len(source), source.size, source.channels
            classes = 0 if source.labels is None else len(source.class_names)
        labels = 0
        if classes:
            labelled = images if source is None else int(np.sum(source.labels >= 0))
            wanted = label_count(labelled, classes, config.data)
            labels = labelled if wanted is None else min(labelled, wanted)
        return cls(images, labels, classes, size, channels)


@dataclasses.dataclass(frozen=True)
class Training:
    """One training of a recipe.

    Attributes:
      name: pretrain, or the method.
      fit: its `FitConfig`.
      spec: the resolved `ModelConfig`.
      head_layers: head layers that its network has.
      classes: 0 without a classifier.
      steps: its duration.
      teacher: (`ModelConfig`, head layers) of the network that it learns from, or None.
      runs: how often the recipe has it.
    """

    name: str
    fit: FitConfig
    spec: ModelConfig
    head_layers: int
    classes: int
    steps: int
    teacher: object = None
    runs: int = 1

    @property
    def views(self):
        """Views of an image in a step."""
        return 2 if self.name == "pretrain" else 1

    @property
    def batches(self):
        """Names of the batches that a step has: a distillation may have unlabelled and labelled, any other training has one without."""
        if self.teacher is None:
            return ("",)
        return ("unlabelled",) * (self.fit.alpha > 0) + ("labelled",) * (self.fit.alpha < 1)

    @property
    def passes(self):
        """How often a step passes as many images as a batch has through the network that it trains."""
        return self.views * len(self.batches)


def pretraining(config, problem):
    """The `Training` of a recipe's own pretraining; see `trainings`."""
    spec = setup.architecture(config, problem, None)
    return _training("pretrain", config.pretrain, spec, spec.head_layers, 0, problem.images)


def trainings(config, problem):
    """The trainings of a pipeline in their order: of what `pipeline.steps` names, pretraining and the methods that train by steps; without
    labels or methods pretraining alone.

    Args:
      config: a `Config`.
      problem: a `Problem`.

    Returns:
      A list of `Training`, one at least.

    Raises:
      UsageError: nothing is left to train, or a head layer is asked for that is not there.
    """
    parent = setup.parent_of(config, ("pretrain",))
    spec, found = setup.architecture(config, problem, parent), []
    runs = collections.Counter({"pretrain": 0 if parent else 1})
    if problem.classes and config.method_names:
        runs = collections.Counter(method for method, _ in pipeline.steps(config))
    if runs["pretrain"]:
        found.append(pretraining(config, problem))
    teacher = (spec, config.finetune.selector)
    for method in _SECTIONS if problem.classes else ():
        if not runs[method] or (method == "student" and not config.student.is_another):
            continue
        fit = getattr(config, _SECTIONS[method])
        own, taught = spec, None
        selector, examples = fit.selector, problem.labels
        if method == "finetune_shipped":
            own = RunDirectory(shipped.locate(shipped.PREFIX + config.shipped)).spec()
        if method in ("self_distill", "student"):
            taught, examples = teacher, problem.images if fit.alpha > 0 else problem.labels
            selector = teacher[1] if selector < 0 else selector
        if method == "student":
            own = setup.student_spec(spec, fit)
        setup.check_selector(selector, own, f"{_SECTIONS[method]}_selector")
        found.append(_training(method, fit, own, selector, problem.classes, examples, taught, runs[method]))
    if not found:
        raise UsageError(
            f"a plan needs a pretraining, or labels and a method that trains, got {problem.classes} classes and --methods={config.methods}"
            f"{' from ' * bool(parent)}{config.from_run}; give data with labels and such a method{', or leave --from out' * bool(parent)}"
        )
    return found


def _training(name, fit, spec, head_layers, classes, examples, teacher=None, runs=1):
    return Training(name, fit, spec, head_layers, classes, Duration.of(fit, examples).total, teacher, runs)
