"""Settings that each are good and do not go together. Their owners in `config.py` ask here when they are made."""

import re

from tf_simclr.errors import UsageError
from tf_simclr.option import options

RESNET = ("depth", "width", "sk", "stem")  # what describes our ResNets, and no other backbone
# local, an address, or the name of a TPU.
_TPU = r"local|grpc://[\w.\-\[\]:]+:\d+|[a-z]([a-z0-9-]{0,61}[a-z0-9])?"


def check_augment(section, name):
    """Raises UsageError where a `FinetuneConfig` names a policy and also says by itself what follows crop and flip."""
    for chance in ("jitter", "grey", "blur"):
        if section.augment != "custom" and getattr(section, chance):
            raise UsageError(
                f"{name}_augment={section.augment} says all that follows crop and flip, so that {name}_{chance} must be 0, got"
                f" {getattr(section, chance)}; give --{name}_{chance}=0, or leave --{name}_augment out"
            )


def check_architecture(section, backbone, prefix=""):
    """Raises UsageError where a `ModelConfig` or `StudentConfig` describes our ResNet beside another backbone."""
    for field in options(section):
        if backbone and field.name in RESNET and (value := getattr(section, field.name)) != field.default:
            name = prefix + field.name
            raise UsageError(
                f"--{name} describes our ResNet and must stay {field.default} with the backbone {backbone}, got {value};"
                f" leave it out, or say --{name}={field.default} after a flag file that gives it"
            )


def check_compute(config):
    """Raises UsageError for a precision, or a place where views are made, that an optimizer or a policy does not go with."""
    for name in ("pretrain", "supervised", "finetune", "distill", "student"):
        if config.precision == "mixed_float16" and getattr(config, name).optimizer == "lamb":
            raise UsageError(
                f"precision mixed_float16 scales the loss, which {name}_optimizer=lamb of Addons does not go with;"
                " give --precision=mixed_bfloat16, or another optimizer"
            )
        if config.augment_on == "device" and getattr(config, name).augment == "randaugment" and (config.jit or config.on_tpu):
            raise UsageError(
                f"{name}_augment=randaugment cannot be compiled, got augment_on device {'and jit' if config.jit else 'on a TPU'};"
                " give --augment_on=host"
            )


def check_distillation(config):
    """Raises UsageError for a teacher that is to be balanced over unlabelled images that nothing is learned from."""
    for name in ("distill", "student"):
        if getattr(config, name).balance and getattr(config, name).alpha == 0:
            raise UsageError(
                f"{name}_balance shifts what a teacher says of unlabelled images, got {name}_alpha=0, which leaves them out;"
                f" raise --{name}_alpha, or drop --{name}_balance"
            )


def check_given(config, data):
    """Raises UsageError for images that were named by nothing, given as something else than `Data`, or both named and given."""
    if data is not None and not hasattr(data, "evaluation"):
        raise UsageError(f"data must be what from_arrays or from_dataset returns, got {type(data).__name__}; pass it through one of them")
    places = ("data_dir", "unlabeled_dir", "eval_data_dir")
    loaded = getattr(data, "named", None)  # `load_data` may have made them of the same names
    differs = (place for place in places if getattr(config.data, place) not in ("", getattr(loaded, place, "")))
    if data is not None and (place := next(differs, None)):
        raise UsageError(
            f"images must be given in Python or be named, got both, the latter by {place}={getattr(config.data, place)}; leave one of the"
            " two out"
        )
    named = config.data.data_dir or config.data.dataset or config.from_run or config.images
    if data is None and "data__data_dir" in config.given and not named:
        raise UsageError(
            "data_dir must be a path, got an empty one, as by a variable that is not set; name the images, or say"
            " --dataset=fashion_mnist_8k for those that come with the package"
        )


def check_start(config):
    """Raises UsageError for an earlier run where nothing starts from one, or where what is asked for is its part."""
    if config.from_run and config.stage in ("inspect", "preview"):
        raise UsageError(f"--stage={config.stage} looks at images alone and needs no --from, got {config.from_run}; leave it out")
    if config.from_run and config.stage == "plan" and config.measure:
        raise UsageError(
            f"--measure times steps of the pretraining, which --from={config.from_run} leaves out of the plan; leave one of the two out"
        )


def check_tpu(config):
    """Raises UsageError where `tpu` is missing, malformed or unused, or a remote TPU would have to reach files of this machine."""
    if config.tpu and not re.fullmatch(_TPU, config.tpu):
        raise UsageError(f"tpu must be local, a name as my-tpu, or an address as grpc://10.0.0.2:8470, got {config.tpu!r}; mend --tpu")
    if config.strategy == "tpu" and not config.tpu:
        raise UsageError("strategy tpu needs tpu, got none; give --tpu=local on a TPU VM, else the TPU's name or grpc:// address")
    if config.tpu and not config.on_tpu:
        raise UsageError(f"tpu needs strategy tpu or auto, got {config.strategy}; drop --tpu or --strategy")
    if not config.on_tpu or config.tpu == "local":
        return
    places = {name: getattr(config.data, name) for name in ("data_dir", "unlabeled_dir", "eval_data_dir")}
    for name, path in {**places, "run_dir": config.run_dir or "runs/"}.items():
        if path and not path.startswith("gs://"):
            raise UsageError(
                f"a remote TPU sees no file of this machine, so that {name} must be gs://…, got {path}; give that, or run on the"
                " TPU VM with --tpu=local"
            )
