"""Writes a network as a SavedModel that a fresh process uses with TensorFlow alone."""

import dataclasses
import json
import os
import pathlib
import shlex
import sys
import tempfile

import tensorflow as tf

import tf_simclr
from tf_simclr import durable
from tf_simclr.errors import UsageError
from tf_simclr.export.card import to_markdown
from tf_simclr.export.reading import Limits
from tf_simclr.export.reusable import Reusable
from tf_simclr.export.serving import signatures
from tf_simclr.export.slim import slim
from tf_simclr.run_directory import check_path

CARD, CARD_TEXT = "model_card.json", "model_card.md"


def export_network(network, class_names, directory, limits=None, facts=None, write_more=None):
    """Writes a SavedModel, the model card as JSON and Markdown, and manifest.json with the SHA-256 of every file.

    What can be called is `reusable.Reusable` and the signatures of `serving.signatures`. The directory appears when all of it is
    written; an export that was there before is replaced.

    Args:
      network: a built `models.network.Network`; without a classifier only features are exported.
      class_names: names in label order; empty without a classifier.
      directory: where to.
      limits: a `reading.Limits`; None takes its defaults.
      facts: what `card.describe` returns; None for a network that is no run's.
      write_more: called with the directory before it is sealed, to add files; or None.

    Raises:
      UsageError: the directory holds something that is not an export, or has a path that TensorFlow could not load it from, or the
        names are not as many as the classes.
    """
    target, class_names = pathlib.Path(directory), list(class_names)
    target = target.resolve() if target.is_symlink() else target
    _check(network, class_names, target)
    module, limits = Reusable(network), limits or Limits()
    card = _card(network, class_names, limits, facts or {})
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, hence on the same disk, where a rename is one step. Not the temporary directory itself is renamed but one
    # inside it: only its owner may read the temporary one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        written = pathlib.Path(temporary) / "written"
        tf.saved_model.save(module, str(written), signatures=signatures(module, network.spec, class_names, limits))
        slim(written)
        (written / CARD).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (written / CARD_TEXT).write_text(to_markdown(card) + "\n", encoding="utf-8")
        if write_more:
            write_more(written)
        durable.seal(written, {"tf_simclr": tf_simclr.__version__})
        if target.exists():
            os.replace(target, pathlib.Path(temporary) / "replaced")
        os.replace(written, target)


def usage_line(directory, image="image.png"):
    """One shell line that loads an export in a fresh process and classifies an image file (or, without classes, shows its features).

    Args:
      directory: an export.
      image: path of a JPEG, PNG, GIF or BMP file.
    """
    show = "print(r['features'].numpy()[0])"
    if json.loads((pathlib.Path(directory) / CARD).read_text(encoding="utf-8"))["class_names"]:
        show = "print(r['class_name'].numpy()[0].decode(), r['probabilities'].numpy().max())"
    code = (
        "import sys, tensorflow as tf; m = tf.saved_model.load(sys.argv[1]);"
        f" r = m.signatures['serve_encoded'](encoded=tf.io.read_file(sys.argv[2])[None]); {show}"
    )
    words = [_interpreter(), "-c", code, str(directory), str(image)]
    # Double quotes around the code, which holds none, and no $ either: shlex would break every single quote up.
    return "TF_CPP_MIN_LOG_LEVEL=3 " + " ".join(f'"{word}"' if word is code else shlex.quote(word) for word in words)


def _interpreter():
    """This Python, from here where it lies below: an environment that was never activated has no other name."""
    here = os.path.join(os.getcwd(), "")
    return sys.executable[len(here) :] if sys.executable.startswith(here) else sys.executable


def _check(network, class_names, target):
    check_path(target)
    classes = 0 if network.classifier is None else network.classifier.units
    if len(class_names) != classes:
        raise UsageError(
            f"an export needs one name for each of the network's {classes} classes, got {len(class_names)}; give those of its training"
        )
    place, here = target.resolve(), pathlib.Path.cwd()
    if (mounted := place.is_mount()) or place in (here, *here.parents):
        where = "a mount point" if mounted else "in which this process works"
        raise UsageError(f"an export needs a directory that it can replace, got {target}, {where}; give another one")
    if target.exists() and not (target / CARD).exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(
            f"an export needs a new or empty directory, or an earlier export, got {target}, which is neither; give another one"
        )


def _card(network, class_names, limits, facts):
    spec = network.spec
    return {
        "class_names": class_names,
        "image_size": spec.image_size,
        "channels": spec.channels,
        "selector": len(network.head.layers),
        "architecture": dataclasses.asdict(spec),
        "parameters": sum(v.shape.num_elements() for v in network.variables),
        "limits": dataclasses.asdict(limits),
        "versions": {"tf_simclr": tf_simclr.__version__, "tensorflow": tf.__version__},
        **facts,
    }
