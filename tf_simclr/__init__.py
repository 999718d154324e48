"""SimCLRv2, the whole procedure: contrastive pretraining, fine-tuning on few labels, distillation.

Importing this package loads no TensorFlow, starts no device and defines no flag; the public names load what they need.
"""

import importlib
import importlib.metadata
import os
import sys

__version__ = "0.2.0"

_HOMES = {
    "run": "tf_simclr.stages",
    "Config": "tf_simclr.config",
    "replace": "tf_simclr.config",
    "UsageError": "tf_simclr.errors",
    "Source": "tf_simclr.data",
    "load_data": "tf_simclr.data",
    "from_arrays": "tf_simclr.data",
    "from_dataset": "tf_simclr.data",
    "load_export": "tf_simclr.export.load",
    "pretrained": "tf_simclr.export.load",
    "register_backbone": "tf_simclr.models.backbones",
}
__all__ = sorted(_HOMES)


def _choose_keras():
    """Keras 2 for TensorFlow 2.16 and later: tf-keras, which reads this variable when it is loaded."""
    try:
        version = importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:
        return  # the first import of TensorFlow says so better
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 16):
        return
    if "keras" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
        raise ImportError(
            "tf_simclr needs Keras 2 (tf-keras), but Keras 3 is already loaded, by TensorFlow itself or by name; import tf_simclr before"
            " tensorflow and keras, or set TF_USE_LEGACY_KERAS=1 in the environment"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"


_choose_keras()
# TensorFlow turns oneDNN on by itself only where the CPU has AVX512; with AVX2 alone it makes a training step several times
# faster too. It is read when TensorFlow is loaded, and whoever has set it is obeyed.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'tf_simclr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__():
    return sorted([*globals(), *__all__])
