"""Loads exports, once their files are known to be those that were written."""

import pathlib

from tf_simclr import durable, shipped
from tf_simclr.errors import UsageError
from tf_simclr.export.saved_model import CARD
from tf_simclr.run_directory import read_object

# What an exported graph never needs, and what would read or write files or run Python: a model that holds one was not written here.
_REFUSED = ("ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "PyFuncStateless", "MatchingFiles", "PrintV2", "DebugIdentity", "LoadLibrary")


def is_export(directory):
    """Whether a directory is an export of this package."""
    return (pathlib.Path(directory) / CARD).is_file()


def read_card(directory):
    """The card of an export, dict; see `saved_model.export_network`. Raises UsageError where there is none."""
    if not is_export(directory):
        raise UsageError(f"an export is a directory with {CARD}, got {directory}, which has none; write one with --stage=export")
    return read_object(pathlib.Path(directory) / CARD)


def check_export(directory, sha256=None):
    """Compares every file of an export with the SHA-256 in its manifest, without loading it.

    Args:
      directory: an export.
      sha256: digest of manifest.json as the export said it, against one who changes files and manifest alike; None takes the manifest's
        word.

    Raises:
      UsageError: no export, another manifest, a file that is missing or another one, or a graph with file or Python operations.
    """
    directory = pathlib.Path(directory)
    read_card(directory)
    try:
        manifest = durable.check(directory)
    except durable.DamagedError as error:
        raise UsageError(f"an export must be as it was written, but in {directory} {error}; export again") from error
    if sha256 is not None and durable.sha256(directory / durable.MANIFEST) != sha256:
        raise UsageError(f"the manifest of {directory} must have SHA-256 {sha256}, got another one; take the export from its source again")
    loaded = {path.relative_to(directory).as_posix() for path in (directory / "variables").rglob("*")} | {"saved_model.pb"}
    if unknown := sorted(loaded - set(manifest["files"])):
        raise UsageError(f"an export must be as it was written, but {directory} has {unknown[0]} besides; export again")
    if found := sorted(operations(directory).intersection(_REFUSED)):
        raise UsageError(f"an export has no file or Python operations, but {directory} has {', '.join(found)}; do not load it")


def operations(directory):
    """The kinds of operations in all graphs of a SavedModel, a set of names."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((pathlib.Path(directory) / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in model.meta_graphs]
    functions = [function for graph in graphs for function in graph.library.function]
    return {node.op for graph in graphs for node in graph.node} | {node.op for function in functions for node in function.node_def}


def load_export(directory, sha256=None):
    """Loads an export, after `check_export`.

    Args:
      directory: an export.
      sha256: see `check_export`.

    Returns:
      The object of `tf.saved_model.load`: `signatures` as `serving.signatures` describes them, callable as `reusable.Reusable`.

    Raises:
      UsageError: see `check_export`.
    """
    import tensorflow as tf

    check_export(directory, sha256)
    return tf.saved_model.load(str(directory))


def pretrained(name):
    """Loads a backbone that ships with the package; see `load_export` for what it is and docs/export.md for how to train it on.

    Args:
      name: "fashion_mnist".

    Raises:
      UsageError: none of that name ships.
    """
    return load_export(shipped.locate(shipped.PREFIX + name) / "export")
