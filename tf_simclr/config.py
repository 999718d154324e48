"""Settings as frozen dataclasses: name, type, default, help and bounds are written once, here.

The command line (`cli.py`) turns the fields into flags; the library only ever sees these objects.
This file imports neither TensorFlow nor NumPy, so that `--help` answers at once.

Sources of the defaults: the SimCLRv2 paper (arXiv 2006.10029), sections 3 and 4 and its appendix.
"""

import dataclasses
import json
import typing

from tf_simclr.combinations import check_architecture, check_augment, check_compute, check_distillation, check_start, check_tpu
from tf_simclr.errors import UsageError
from tf_simclr.option import check, option, options

STAGES = (
    *("inspect", "preview", "pretrain", "linear_eval", "finetune", "distill"),
    *("evaluate", "predict", "embed", "export", "demo", "pipeline", "plan"),
)
METHODS = ("supervised", "linear_eval", "finetune", "finetune_shipped", "self_distill", "student")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "auto")
TFLITE_KINDS = ("float32", "float16", "int8")
DEPTHS = (10, 18, 34, 50, 101, 152, 200)
IN_MEMORY = "in_memory"  # the data set that a run records where its images were given in Python
NO_IMAGES = "none (imported weights)"  # and where none came with its weights
WHERE_FROM = ("dataset", "data_dir", "unlabeled_dir", "eval_data_dir", "image_feature", "label_feature")  # which say where data are
STUDENT = ("backbone", "backbone_size", "depth", "width")  # what makes a student another architecture than its teacher


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where images and labels come from, and which labels may be used."""

    dataset: str = option(
        "",
        "fashion_mnist_8k (bundled), idx, npz, folder, csv, tfrecord, or tfds:NAME such as tfds:cifar10; empty: what --data_dir looks like,"
        " else that of --from, else fashion_mnist_8k",
    )
    data_dir: str = option(
        "",
        "directory (idx, folder, tfrecord, prepared tfds) or file (npz, csv, tfrecord pattern) that holds the data;"
        " for predict and embed also an image or a pattern of images",
    )
    unlabeled_dir: str = option("", "more images, of the same kind, used without labels beside those of --data_dir")
    eval_data_dir: str = option("", "separate labelled evaluation data, of the same kind as --data_dir")
    eval_on: str = option(
        "auto",
        "score on the test split, or on a stratified hold-out of the training split; auto: as --from did, if its data are used, else test",
        choices=("auto", "test", "holdout"),
    )
    image_feature: str = option("image/encoded", "feature of a TFRecord that holds the encoded image")
    label_feature: str = option("image/class/label", "feature of a TFRecord that holds the label, a number or a name")
    allow_overlap: bool = option(False, "allow images that stand in two of the labelled, unlabelled and evaluation sets")
    max_pixels: int = option(100_000_000, "larger images are quarantined, from their header", low=1)
    max_bytes: int = option(100_000_000, "larger image files are quarantined", low=1)
    max_bad_fraction: float = option(0.01, "with a larger share of bad images a run does not start", low=0, high=1)
    holdout_fraction: float = option(0.125, "share of the training split held out by --eval_on=holdout", above=0, high=0.9)
    labels_per_class: int = option(0, "use this many labels of every class (0: not limited this way)", low=0)
    num_labels: int = option(0, "use this many labels in all, balanced over the classes (0: not limited)", low=0)
    label_fraction: float = option(0.0, "use this share of the labels, balanced over classes (0: not limited)", low=0, high=1)
    label_seed: int = option(1, "seed of the label draw, by MixMatch's protocol", low=0, high=2**32 - 1)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The encoder and its projection head (paper, section 2 and appendix)."""

    backbone: str = option(
        "",
        "encoder: keras_cv:NAME, a KerasCV preset without weights such as keras_cv:mobilenet_v3_small, or a name given to"
        " tf_simclr.register_backbone; empty: our ResNet, which depth, width, sk and stem describe",
    )
    backbone_size: int = option(0, "side in pixels that images are resized to before --backbone (0: as they are)", low=0)
    depth: int = option(18, "ResNet depth", choices=DEPTHS)
    width: float = option(1.0, "width multiplier of the encoder; fractions allowed", above=0)
    sk: bool = option(False, "selective kernels, in basic and bottleneck blocks")
    stem: str = option("auto", "first layers; auto: cifar up to 32 px, else imagenet", choices=("auto", "cifar", "cifar2", "imagenet"))
    image_size: int = option(0, "side of the square network input in pixels (0: that of the data)", low=0)
    channels: int = option(0, "1 grey, 3 RGB (0: those of the data)", choices=(0, 1, 3))
    background: str = option("white", "what transparent pixels are laid on", choices=("white", "black"))
    head_layers: int = option(3, "layers of the projection head", low=1)
    head_width: int = option(0, "width of its hidden layers (0: the encoder's output width)", low=0)
    head_dim: int = option(128, "width of its output z", low=1)


_WEIGHT_DECAY = "weight decay, by the gradient (lars, sgd) or apart from it (adamw, lamb); never on BatchNorm and biases"


@dataclasses.dataclass(frozen=True)
class FitConfig:
    """One stretch of training: update rule, duration and views. Each training stage has one."""

    optimizer: str = option("lars", "update rule", choices=("lars", "sgd", "adamw", "lamb"))
    learning_rate: float = option(0.1, "peak learning rate before scaling", above=0)
    lr_scaling: str = option(
        "sqrt", "multiply the rate by 1 (none), batch/256 (linear) or the root of the batch (sqrt)",
        choices=("none", "linear", "sqrt"),
    )  # fmt: skip
    momentum: float = option(0.9, "momentum of lars and sgd", low=0, high=1)
    weight_decay: float = option(1e-4, _WEIGHT_DECAY, low=0)
    batch_size: int = option(512, "images per step over all replicas", low=1)
    epochs: float = option(100.0, "duration in passes over the images", low=0)
    steps: int = option(0, "duration in steps (0: use the epochs)", low=0)
    warmup: float = option(0.05, "share of the steps spent on linear warm-up", low=0, high=1)
    crop_min_area: float = option(0.08, "least area of a random crop, as a share of the image", above=0, high=1)
    crop_max_aspect: float = option(4 / 3, "a random crop's sides in pixels have a ratio between this and its inverse", low=1)
    flip: float = option(0.5, "probability of a horizontal flip", low=0, high=1)
    jitter: float = option(0.0, "probability of colour jitter", low=0, high=1)
    brightness: float = option(0.8, "strength of the brightness jitter: factor in 1±s", low=0)
    contrast: float = option(0.8, "strength of the contrast jitter: factor in 1±s", low=0)
    saturation: float = option(0.8, "strength of the saturation jitter: factor in 1±s", low=0)
    hue: float = option(0.2, "strength of the hue jitter: turns of ±s", low=0, high=0.5)
    grey: float = option(0.0, "probability of dropping the colour", low=0, high=1)
    blur: float = option(0.0, "probability of a Gaussian blur", low=0, high=1)
    augment = "custom"  # a setting of fine-tuning alone; the views of the others are what the probabilities say


@dataclasses.dataclass(frozen=True)
class PretrainConfig(FitConfig):
    """Contrastive pretraining (paper, section 2 and appendix B.1)."""

    jitter: float = option(0.8, "probability of colour jitter", low=0, high=1)
    grey: float = option(0.2, "probability of dropping the colour", low=0, high=1)
    blur: float = option(0.5, "probability of a Gaussian blur", low=0, high=1)
    temperature: float = option(0.1, "temperature of NT-Xent", above=0)
    probe_every: float = option(10.0, "epochs between online k-NN and linear probes (0: none)", low=0)
    micro_batch_size: int = option(
        0, "images of every replica that pass at a time, with the loss and gradient of the whole batch (0: all of them)", low=0
    )
    queue: int = option(0, "projections of past batches, by an average network, that views are also told from (0: none)", low=0)
    ema: float = option(
        0.999, "decay of that network's moving average of the weights; 0: off, it is the last step's network", low=0, high=1
    )


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(FitConfig):
    """Fine-tuning from a layer of the projection head (paper, section 2 and appendix B.2)."""

    learning_rate: float = option(0.005, "peak learning rate before scaling", above=0)
    weight_decay: float = option(0.0, _WEIGHT_DECAY, low=0)
    batch_size: int = option(256, "images per step over all replicas", low=1)
    epochs: float = option(60.0, "duration in passes over the labelled images", low=0)
    warmup: float = option(0.0, "share of the steps spent on linear warm-up", low=0, high=1)
    selector: int = option(1, "head layer to fine-tune from; 0: the pooled features", low=0)
    augment: str = option(
        "custom",
        "what follows crop and flip: what jitter, grey and blur say (custom); or, with those three at 0, nothing (crop_flip), KerasCV's"
        " RandAugment (randaugment), or jitter, grey and blur with the default probabilities of pretraining (simclr)",
        choices=("custom", "crop_flip", "randaugment", "simclr"),
    )
    randaugment_magnitude: float = option(0.5, "mean strength of RandAugment's operations", low=0, high=1)
    randaugment_layers: int = option(3, "operations that RandAugment applies to each image, one in eleven of them none", low=1, high=16)


@dataclasses.dataclass(frozen=True)
class SupervisedConfig(FinetuneConfig):
    """The baseline: the same labels, the same network, no pretraining."""

    learning_rate: float = option(0.1, "peak learning rate before scaling", above=0)
    weight_decay: float = option(1e-4, _WEIGHT_DECAY, low=0)
    selector: int = option(0, "hidden layers between the pooled features and the classifier", low=0)


@dataclasses.dataclass(frozen=True)
class LinearEvalConfig:
    """A logistic regression on frozen features."""

    selector: int = option(0, "layer whose output is classified; 0: the pooled features", low=0)
    l2: float = option(0.0, "weight penalty (0: chosen by cross-validation on the labels in use)", low=0)


@dataclasses.dataclass(frozen=True)
class EmbedConfig:
    """Features of images, for other programs."""

    selector: int = option(0, "layer whose output is written; 0: the pooled features", low=0)


@dataclasses.dataclass(frozen=True)
class DistillConfig(FitConfig):
    """Distillation from a fine-tuned teacher (paper, section 2, equations 2 and 3)."""

    epochs: float = option(400.0, "duration in passes over the images", low=0)
    temperature: float = option(0.1, "temperature of the teacher's and the student's softmax", above=0)
    alpha: float = option(1.0, "weight of the unlabelled term; 1: unlabelled only, 0: labelled only", low=0, high=1)
    init: str = option(
        "teacher",
        "the student starts from the teacher's weights, from the pretrained ones that its teacher started from, or at random",
        choices=("teacher", "pretrained", "random"),
    )
    selector: int = option(-1, "hidden head layers under the student's classifier (-1: as the teacher)", low=-1)
    balance: bool = option(False, "first shift the teacher's logits until it answers every class equally often (not in the paper)")


@dataclasses.dataclass(frozen=True)
class StudentConfig(DistillConfig):
    """Distillation into another, usually smaller, architecture."""

    temperature: float = option(1.0, "temperature of the teacher's and the student's softmax", above=0)
    init: str = option("random", "the student's first weights", choices=("random",))
    backbone: str = option("", "the student's encoder, as --backbone (empty: as the teacher)")
    backbone_size: int = option(0, "as --backbone_size, before --student_backbone (0: as they are)", low=0)
    depth: int = option(0, "the student's ResNet depth (0: as the teacher)", choices=(0,) + DEPTHS)
    width: float = option(0.0, "the student's width multiplier (0: as the teacher)", low=0)

    @property
    def is_another(self):
        """Whether the student has another architecture than its teacher."""
        return any(getattr(self, name) for name in STUDENT)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run. Everything needed to run it again; saved as `config.json` in the run directory."""

    stage: str = option("pretrain", "what to do", choices=STAGES)
    run_dir: str = option("", "directory of this run (empty: runs/DATASET/STAGE)")
    from_run: str = option(
        "",
        "run directory of the earlier stage, or pretrained:NAME for one that ships (fashion_mnist); pretrain goes on from an earlier"
        " pretraining, a pipeline has it instead of its own; predict, embed, demo: an export too",
        flag="from",
    )
    max_batch: int = option(1024, "an exported model refuses batches of more images", low=1)
    license: str = option("", "licence of the weights, for the model card of an export (empty: not stated)")
    data_license: str = option("", "licence of the training data, for the model card of an export (empty: not stated)")
    seed: int = option(1, "seed of weights, order and views", low=0, high=2**31 - 1)
    checkpoint_every: int = option(500, "steps between checkpoints", low=1)
    keep_checkpoints: int = option(2, "how many of the newest checkpoints are kept, beside the one of the lowest loss", low=1)
    force: bool = option(False, "start again in a run directory with other settings; what it holds is kept in its replaced/")
    strategy: str = option(
        "auto",
        "replicas: one, mirrored (all local devices), multiworker (processes that TF_CONFIG names), tpu, auto",
        choices=("auto", "one", "mirrored", "multiworker", "tpu"),
    )
    tpu: str = option("", "local on a TPU VM, or a remote TPU's name or grpc:// address")
    tpu_zone: str = option("", "zone of a TPU that is given by name (empty: this machine's)")
    gcp_project: str = option("", "project of a TPU that is given by name (empty: this machine's)")
    precision: str = option(
        "float32",
        "what a training computes in; weights, losses and BatchNorm's statistics stay float32, and so does all that is not training;"
        " auto: mixed_bfloat16 where this machine has it in hardware, else float32",
        choices=PRECISIONS,
    )
    augment_on: str = option("host", "make views while the device trains, or in the train step", choices=("host", "device"))
    jit: bool = option(False, "compile the whole train step with XLA; on a CPU it is slower more often than not")
    steps_per_execution: int = option(1, "steps between two looks at signals, checkpoints and the progress bar", low=1)
    eval_batch_size: int = option(500, "images per step when nothing is trained", low=1)
    methods: str = option(
        "supervised,linear_eval,finetune,self_distill,student",
        "what --stage=pipeline compares, after pretraining; finetune_shipped starts from --shipped instead",
    )
    shipped: str = option("fashion_mnist", "run of the package that the method finetune_shipped starts from")
    label_seeds: str = option("1", "label draws that --stage=pipeline repeats every method on")
    tflite: str = option("", "files for small devices that --stage=export adds and scores: float32, float16, int8 (empty: none)")
    port: int = option(8000, "where --stage=demo listens on 127.0.0.1 (0: any free port)", low=0, high=65535)
    images: int = option(0, "plan for this many images of --image_size instead of reading data (0: read them)", low=0)
    classes: int = option(0, "with --images: classes, all images labelled (0: no labels)", low=0)
    utilisation: float = option(0.4, "share of an accelerator's peak that --stage=plan counts on", above=0, high=1)
    measure: bool = option(False, "let --stage=plan time a few training steps here, for a row of this machine")
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    pretrain: PretrainConfig = dataclasses.field(default_factory=PretrainConfig)
    supervised: SupervisedConfig = dataclasses.field(default_factory=SupervisedConfig)
    linear_eval: LinearEvalConfig = dataclasses.field(default_factory=LinearEvalConfig)
    finetune: FinetuneConfig = dataclasses.field(default_factory=FinetuneConfig)
    distill: DistillConfig = dataclasses.field(default_factory=DistillConfig)
    student: StudentConfig = dataclasses.field(default_factory=StudentConfig)
    embed: EmbedConfig = dataclasses.field(default_factory=EmbedConfig)

    # Not a setting: which settings of the architecture and the data `replace` was given (`model__depth`). Where a stage takes them from
    # an earlier run, a default that was given counts: as architecture it has to be that run's, as data it replaces what was there.
    given = frozenset()

    def __post_init__(self):
        """Raises UsageError for a value outside its choices or bounds, or a combination that cannot be."""
        for name, section in sections(self).items():
            for field in options(section):
                check(field, getattr(section, field.name), f"{name}_" if name in FITS else "")
            if isinstance(section, FitConfig) and not section.epochs and not section.steps:
                raise UsageError(f"{name}_epochs or {name}_steps must be above 0, got 0 for both; give one of them")
            if isinstance(section, FinetuneConfig):
                check_augment(section, name)
        d = self.data
        given = [n for n in ("labels_per_class", "num_labels", "label_fraction") if getattr(d, n)]
        if len(given) > 1:
            raise UsageError(
                f"at most one of labels_per_class, num_labels and label_fraction is allowed, got {' and '.join(given)}; drop all but one"
            )
        check_architecture(self.model, self.model.backbone)
        check_architecture(self.student, self.student.backbone, "student_")
        if not self.from_run and self.finetune.selector > self.model.head_layers:
            raise UsageError(f"finetune_selector must be at most head_layers={self.model.head_layers}, got {self.finetune.selector}")
        for setting, names, known in (("methods", self.method_names, METHODS), ("tflite", self.tflite_kinds, TFLITE_KINDS)):
            for name in names:
                if name not in known:
                    raise UsageError(f"{setting} must be among {', '.join(known)}, got {name!r}")
        self.label_seed_list  # noqa: B018 (validates)
        check_tpu(self)
        check_compute(self)
        check_distillation(self)
        check_start(self)

    @property
    def on_tpu(self):
        """Whether the replicas are those of a TPU."""
        return self.strategy == "tpu" or (self.strategy == "auto" and bool(self.tpu))

    @property
    def method_names(self):
        """The methods of a pipeline, as a tuple of names."""
        return _names(self.methods)

    @property
    def tflite_kinds(self):
        """The kinds of TFLite files of an export, as a tuple of names."""
        return _names(self.tflite)

    @property
    def label_seed_list(self):
        """The label seeds of a pipeline, as a tuple of integers. They are seeds of everything else too."""
        (seed,) = (field for field in options(Config) if field.name == "seed")
        try:
            seeds = tuple(int(s) for s in self.label_seeds.split(","))
        except ValueError:
            raise UsageError(
                f"label_seeds must be whole numbers with commas between them, got {self.label_seeds!r}; write 1,2,3, say"
            ) from None
        if not all(seed.metadata["low"] <= number <= seed.metadata["high"] for number in seeds):
            raise UsageError(
                f"label_seeds must be from {seed.metadata['low']} to {seed.metadata['high']}, got {self.label_seeds}; choose others"
            )
        return seeds


def _names(text):
    return tuple(n for n in text.replace(" ", "").split(",") if n)


def sections(config):
    """The sections of a configuration by name; the top level is ''."""
    named = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if dataclasses.is_dataclass(f.type)}
    return {"": config, **named}


# The sections of training settings, and those that each stage reads; where there are two, `used_sections` chooses.
FITS = tuple(f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(f.type) and f.name not in ("data", "model"))
_OF_A_PIPELINE = tuple(name for name in FITS if name != "embed")
USES = {
    "inspect": ("pretrain",),
    "preview": ("pretrain",),
    "pretrain": ("pretrain",),
    "linear_eval": ("linear_eval",),
    "finetune": ("finetune", "supervised"),
    "distill": ("distill", "student"),
    "evaluate": (),
    "predict": (),
    "embed": ("embed",),
    "export": (),
    "demo": (),
    "pipeline": _OF_A_PIPELINE,
    "plan": _OF_A_PIPELINE,
}
# Settings that change how a run goes on, not what it ends with; and those that only some stages read.
_FREE = (
    *("run_dir", "checkpoint_every", "keep_checkpoints", "force", "eval_batch_size", "strategy", "tpu", "tpu_zone", "gcp_project"),
    *("augment_on", "jit", "steps_per_execution"),
    *("max_batch", "license", "data_license", "port", "images", "classes", "utilisation", "measure"),
)
_PIPELINE_ONLY = ("methods", "label_seeds", "shipped", "tflite")  # an export alone records no settings
_LABELS = ("labels_per_class", "num_labels", "label_fraction", "label_seed")


def used_sections(stage, from_run, student):
    """The sections of training settings that a stage reads.

    Args:
      stage: the stage's name.
      from_run: whether an earlier run is given; fine-tuning without one is the supervised baseline, and a pipeline with one does not
        pretrain.
      student: whether the student's architecture is given.

    Returns:
      A tuple of section names, empty for a stage that trains nothing.
    """
    if stage == "finetune":
        return ("finetune",) if from_run else ("supervised",)
    if stage == "distill":
        return ("student",) if student else ("distill",)
    if stage in ("pipeline", "plan") and from_run:
        return tuple(name for name in USES[stage] if name != "pretrain")
    return USES[stage]


def used_settings(config):
    """The settings that decide what a run ends with, as a nested dict: two runs that agree on them are one run."""
    settings = dataclasses.asdict(config)
    used = used_sections(config.stage, bool(config.from_run), config.student.is_another)
    unused = {*_FREE, *FITS} - set(used) | (set() if config.stage == "pipeline" else set(_PIPELINE_ONLY))
    settings = {name: value for name, value in settings.items() if name not in unused}
    if config.stage == "pretrain":
        settings["data"] = {name: value for name, value in settings["data"].items() if name not in _LABELS}
    return settings


_REMEMBERED = ("model__", "data__")


def replace(config, **changes):
    """A changed copy. Keys are `field`, or `section.field` written `section__field`.

    It remembers which settings of the architecture and the data were given one by one, perhaps with their default: they are not taken
    from an earlier run. A whole section (`model=ModelConfig()`) leaves its defaults to the earlier run again.

    Raises UsageError for an unknown name.
    """
    top, nested = {}, {}
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        target = sections(config).get(section)
        if target is None or name not in {f.name for f in dataclasses.fields(target)}:
            raise UsageError(f"unknown setting {key!r}; known: fields of tf_simclr.Config and section__field")
        (nested.setdefault(section, {}) if section else top)[name] = value
    built = {name: dataclasses.replace(getattr(config, name), **values) for name, values in nested.items()}
    changed = dataclasses.replace(config, **top, **built)
    before = {key for key in config.given if key.partition("__")[0] not in top}
    object.__setattr__(changed, "given", frozenset(before | {key for key in changes if key.startswith(_REMEMBERED)}))
    return changed


def to_json(config):
    """The configuration as JSON text that `from_json` reads back."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_dict(cls, values, where="config"):
    """Builds a (nested) dataclass from plain data; unknown keys are refused by name."""
    if not isinstance(values, dict):
        raise UsageError(f"{where} must be an object of settings, got {values!r}")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise UsageError(f"unknown key {unknown[0]!r} in {where}; known keys: {', '.join(hints)}")
    built = {k: from_dict(hints[k], v, f"{where}.{k}") if dataclasses.is_dataclass(hints[k]) else v for k, v in values.items()}
    return cls(**built)


def from_json(text):
    """The configuration that `to_json` wrote. Raises UsageError for unknown keys."""
    return from_dict(Config, json.loads(text))
