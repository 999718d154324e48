"""Opens a file of released weights: names and shapes at once, values one by one, since the largest model has 800 million of them."""

import dataclasses
import pathlib
from typing import Callable, Optional

import numpy as np
import tensorflow as tf

from tf_simclr.errors import UsageError

# Where a released TF2 SavedModel keeps its variables: its object graph knows them by their positions in these lists alone.
_OWNERS = ("", "model", "model.resnet_model", "model._projection_head", "model.supervised_head")
_LISTS = ("trainable_variables_list", "variables")
_UNREADABLE = (OSError, IndexError, ValueError, RuntimeError, tf.errors.OpError)  # what TensorFlow raises of damaged files


@dataclasses.dataclass(frozen=True)
class Weights:
    """The variables of one file.

    Attributes:
      kind: 'TF1 checkpoint' or 'TF2 SavedModel'.
      shapes: dict from variable name to its shape, a tuple of int.
      read: function from a name to its value, an array.
      pretrained: whether the model says of itself that it was pretrained and not fine-tuned; None where it does not say.
    """

    kind: str
    shapes: dict
    read: Callable
    pretrained: Optional[bool] = None

    def value(self, name):
        """The value, float32. Raises UsageError where it is not finite or cannot be read."""
        try:
            value = np.asarray(self.read(name), np.float32)
        except _UNREADABLE as error:
            raise UsageError(f"weights must be whole, but {name} cannot be read: {_first_line(error)}; give an undamaged file") from error
        if not np.all(np.isfinite(value)):
            raise UsageError(f"weights must be finite numbers, got NaN or infinity in {name}; give an undamaged file")
        return value


def open_weights(path):
    """Opens a TF1 checkpoint or a TF2 SavedModel. No session is started and nothing is computed.

    Args:
      path: a folder with a TF1 checkpoint (`checkpoint`, `model.ckpt-N.index`, …), a checkpoint's prefix (`…/model.ckpt-N`), or the
        folder of a SavedModel.

    Returns:
      `Weights`.

    Raises:
      UsageError: nothing there that can be read.
    """
    path = pathlib.Path(path)
    return _saved_model(path) if (path / "saved_model.pb").exists() else _checkpoint(path)


def _checkpoint(path):
    try:
        reader = tf.train.load_checkpoint(str(path))
    except _UNREADABLE as error:
        raise UsageError(
            f"--checkpoint must be the folder of a TF1 checkpoint or of a SavedModel, or a checkpoint's prefix such as DIR/model.ckpt-0,"
            f" got {path}, of which TensorFlow says: {_first_line(error)}; give another path"
        ) from error
    shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
    if "_CHECKPOINTABLE_OBJECT_GRAPH" in shapes:
        raise UsageError(f"a TF1 checkpoint by variable names is required, got one of TF2 objects in {path}; give the model's SavedModel")
    return Weights("TF1 checkpoint", shapes, reader.get_tensor)


def _saved_model(path):
    try:
        loaded = tf.saved_model.load(str(path))
    except _UNREADABLE as error:
        raise UsageError(
            f"--checkpoint must be a SavedModel that TensorFlow can load, but of {path} it says: {_first_line(error)}; give another path"
        ) from error
    variables = _variables(loaded, path)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    return Weights("TF2 SavedModel", shapes, lambda name: variables[name].numpy(), _says_pretrained(loaded))


def _variables(loaded, path):
    """All variables by name. Raises UsageError for none, or two different ones with one name."""
    found = {}
    for owner in _OWNERS:
        for variable in (v for kind in _LISTS for v in _follow(loaded, f"{owner}.{kind}".strip(".")) or ()):
            name = variable.name.partition(":")[0]
            if found.setdefault(name, variable) is not variable:
                raise UsageError(f"every variable must have a name of its own, got two called {name} in {path}; export the model alone")
    if not found:
        raise UsageError(f"a SavedModel with trainable_variables_list or variables is required, got one without in {path}; export them")
    return found


def _follow(root, dotted):
    """The attribute of an attribute of …, or None where one is missing."""
    for name in dotted.split("."):
        root = getattr(root, name, None)
    return root


def _says_pretrained(loaded):
    """A released SavedModel returns its projection head's output if it was pretrained, and not if it was fine-tuned or supervised."""
    traces = loaded.__call__.concrete_functions if callable(loaded) else ()
    outputs = [trace.structured_outputs for trace in traces]
    if not outputs or not all(isinstance(output, dict) for output in outputs):
        return None
    return any("proj_head_output" in output for output in outputs)


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]
