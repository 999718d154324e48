"""A tiny problem on which every stage can be run for real within seconds."""

import numpy as np

from tf_simclr.config import Config, replace
from tf_simclr.data import from_arrays

CLASSES = ("left", "right", "both")
# The command line's share of `settings`: two steps of training.
FLAGS = (
    *("--depth=10", "--width=0.0625", "--stem=cifar2", "--head_dim=16"),
    *("--optimizer=adamw", "--learning_rate=0.01", "--lr_scaling=none", "--batch_size=8", "--steps=2"),
)


def images(count, seed, size=16):
    """uint8 [count, size, size] and labels: a bright half on the left, on the right, or a dim grey all over, under noise."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = random.integers(0, 60, (count, size, size))
    pixels[labels == 0, :, : size // 2] += 150
    pixels[labels == 1, :, size // 2 :] += 150
    pixels[labels == 2] += 75
    return pixels.astype(np.uint8), labels


def write_npz(path, pixels, labels, class_names=CLASSES):
    """An npz file of labelled images."""
    np.savez(path, images=pixels, labels=labels, class_names=list(class_names))


def shorten(monkeypatch, groups=1):
    """Leaves only the first groups of ResNet-10 and ResNet-50, of one block each, and evaluations an empty picture."""
    from matplotlib.figure import Figure

    from tf_simclr.evaluation import report
    from tf_simclr.models import resnet

    monkeypatch.setattr(report, "draw", lambda *_: Figure((1, 1)))
    for depth in (10, 50):
        block, _ = resnet.LAYOUTS[depth]
        monkeypatch.setitem(resnet.LAYOUTS, depth, (block, (1,) * groups))


def scattered_network(spec, head_layers=0, classes=3, precision="float32"):
    """A `Network` away from the start, where residual branches and logits are zero, but with statistics that leave the ReLUs alive."""
    import tensorflow as tf

    from tf_simclr.stages.setup import build_network

    network = build_network(spec, head_layers, classes, 0, precision)
    for i, v in enumerate(network.variables):
        low, high = (0.2, 0.6) if "moving_variance" in v.name else (-0.3, 0.3)
        kept = 0.0 if "moving" in v.name else v
        v.assign(kept + tf.random.stateless_uniform(v.shape, [i, 7], low, high))
    return network


def data(labelled=True, train=96, evaluation=48):
    """`Data` of three classes that a linear classifier can tell apart."""
    x, y = images(train, 0)
    if not labelled:
        return from_arrays(x)
    return from_arrays(x, y, *(images(evaluation, 1) if evaluation else ()), class_names=CLASSES)


def settings(stage, run_dir, **changes):
    """Settings of a stage that takes seconds; flips are off, since they would exchange two of the classes.

    No training has a rest after its whole epochs (of 21 or 20 steps): to make batches for one takes longer than the training.
    """
    tiny = {"model__depth": 10, "model__width": 0.0625, "model__stem": "cifar2", "model__head_dim": 16}
    for section in ("pretrain", "finetune", "supervised", "distill", "student"):
        own = {"optimizer": "adamw", "learning_rate": 0.01, "lr_scaling": "none", "batch_size": 32, "epochs": 4.0, "flip": 0.0}
        tiny |= {f"{section}__{name}": value for name, value in own.items()}
        tiny[f"{section}__crop_min_area"] = 0.7
    tiny |= {
        "pretrain__epochs": 28.0,
        "pretrain__probe_every": 14.0,
        "data__labels_per_class": 8,
        "finetune__epochs": 27.0,
        "supervised__epochs": 27.0,
    }
    tiny |= {"distill__epochs": 7.0, "student__epochs": 7.0, "distill__temperature": 1.0}
    return replace(Config(), stage=stage, run_dir=str(run_dir), **(tiny | changes))
