"""Loads exports, once their files are known to be those that were written."""

import pathlib
import re

from google.protobuf.message import DecodeError

from tf_simclr import durable, shipped
from tf_simclr.errors import UsageError
from tf_simclr.export.saved_model import CARD
from tf_simclr.run_directory import check_path, read_object

# Operations that read or write files, speak to other machines, run Python or hide a graph: a model that holds one was not written
# here. Those of the saver may stand in the saver's own functions, which the loader calls for the variables' files.
_REFUSED = re.compile(
    "File|Py|Save|Restore|Load|Checkpoint|Record|TextLine|Reader|Snapshot|Cache|Sql|LMDB|CSV|ImmutableConst|Summary"
    "|Print|Debug|Rpc|Remote|DataService|Send|Recv|Host|Gcs|DatasetFromGraph|Deserialize|Compile"
)
_SAVER = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}
# What a loader may open, whether the manifest names it or not.
_LOADED = ("saved_model*", "variables/**/*", "assets/**/*", "assets.extra/**/*", "fingerprint.pb", "debug/**/*")


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
      UsageError: no export, a path that TensorFlow cannot load it from, another manifest, a file that is missing or another one, or a
        graph with file or Python operations.
    """
    check_path(directory)
    directory = pathlib.Path(directory)
    read_card(directory)
    try:
        manifest = durable.check(directory)
    except durable.DamagedError as error:
        raise UsageError(f"an export must be as it was written, but in {directory} {error}; export again") from error
    if sha256 is not None and durable.sha256(directory / durable.MANIFEST) != sha256.strip().lower():
        raise UsageError(f"the manifest of {directory} must have SHA-256 {sha256}, got another one; take the export from its source again")
    known = set(manifest["files"])
    if missing := sorted({"saved_model.pb", CARD} - known):
        raise UsageError(f"the manifest of an export must name {missing[0]}, but that of {directory} does not; export again")
    found = (path for pattern in _LOADED for path in directory.glob(pattern) if not path.is_dir())
    if unknown := sorted({path.relative_to(directory).as_posix() for path in found} - known):
        raise UsageError(f"an export must be as it was written, but {directory} has {unknown[0]!r} besides; export again")
    if found := sorted(filter(_REFUSED.search, operations(directory))):
        raise UsageError(f"an export has no file or Python operations, but {directory} has {', '.join(found)}; do not load it")


def operations(directory):
    """The kinds of operations in all graphs of a SavedModel but those with which its saver reads and writes variables, a set of names.

    Raises:
      UsageError: saved_model.pb cannot be read.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        model = saved_model_pb2.SavedModel.FromString((pathlib.Path(directory) / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise UsageError(f"an export must hold a SavedModel, but saved_model.pb in {directory} cannot be read; export again") from error
    kinds = set()
    for meta in model.meta_graphs:
        graph, saver = meta.graph_def, meta.saver_def
        ends = {name.partition(":")[0] for name in (saver.save_tensor_name, saver.restore_op_name)}
        savers = {node.attr["f"].func.name for node in graph.node if node.name in ends}
        kinds |= {node.op for node in graph.node}
        for function in graph.library.function:
            kinds |= {node.op for node in function.node_def} - (_SAVER if function.signature.name in savers else set())
    return kinds


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
