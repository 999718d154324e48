"""Saving and restoring: a run's own training state, and an earlier stage's network.

Every checkpoint is a sealed directory `step-N` (see `durable`): the files of `tf.train.Checkpoint.write`, and a manifest that commits them.
"""

import collections
import pathlib
import re
import tempfile

import numpy as np
import tensorflow as tf
from absl import logging

from tf_simclr import durable, interruption
from tf_simclr.errors import NotFiniteError, UsageError

_STATE, _EXPORTED = "state", "variables/variables"  # the files of a checkpoint, and of an export
_SPARE_BYTES = 1 << 20  # for manifest, logs and the directory itself
_KEY = "/.ATTRIBUTES/VARIABLE_VALUE"


class Checkpoints:
    """The checkpoints of one run: network, optimizer (slots and step), memory; the newest ones, and the one of the lowest loss.

    Args:
      directory: where they lie.
      network: the network in training.
      optimizer: its optimizer, built; or None where there is none.
      keep: how many of the newest to keep.
      facts: JSON-able dict for their manifests: seed, data fingerprint.
      writes: whether this process keeps what it saves. Of many workers one does, but all must save, since they read their common
        variables together.
      alone: whether there are no other workers; where there are, a save that fails is not tried again, which they would not know.
      memory: the `Memory` of pretraining; or None where there is none.
    """

    def __init__(self, directory, network, optimizer=None, keep=1, facts=None, writes=True, alone=True, memory=None):
        parts = {"network": network, "optimizer": optimizer, "memory": memory}
        self._checkpoint = tf.train.Checkpoint(**{name: part for name, part in parts.items() if part is not None})
        variables = [*network.variables, *(() if optimizer is None else optimizer_variables(optimizer))]
        variables += () if memory is None else memory.variables
        self._bytes = sum(v.shape.num_elements() * v.dtype.size for v in variables)
        self._directory, self._keep, self._facts = pathlib.Path(directory), keep, facts or {}
        self._saved, self._writes, self._alone = None, writes, alone

    def restore(self):
        """Restores the newest whole checkpoint, strictly.

        Returns:
          Its step, 0 when there is none.

        Raises:
          UsageError: no checkpoint is whole, or a variable is missing, too many or of another shape; names it.
        """
        path = newest(self._directory)
        if path is None:
            return 0
        try:
            self._checkpoint.read(str(path / _STATE)).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UsageError(
                f"{path} must hold every variable of this run and no other: {_reason(error)}; continue with the version and settings"
                " that wrote it, or give another --run_dir"
            ) from error
        self._saved = _step_of(path)
        logging.info("resuming from step %d", self._saved)
        return self._saved

    def save(self, step, loss=None):
        """Saves, once per step; a signal waits for the end of it.

        Args:
          step: number of updates made.
          loss: the loss that goes with it; the checkpoint of the lowest is kept.

        Raises:
          StorageError: the files could not be written; earlier checkpoints are whole.
          NotFiniteError: a variable is NaN or infinite; nothing is saved.
        """
        if step == self._saved:
            return
        if not self._writes:
            with tempfile.TemporaryDirectory() as scratch:
                self._checkpoint.write(f"{scratch}/{_STATE}")
            self._saved = step
            return
        with interruption.deferred():
            pauses = durable.PAUSES if self._alone else ()
            durable.attempt(lambda: self._write(step, loss), f"checkpoint of step {step}", (OSError, tf.errors.OpError), pauses)
            self._saved = step
            self._prune()

    def _write(self, step, loss):
        path = self._directory / f"step-{step:08d}"
        if path.exists():
            durable.remove(path)
        path.mkdir(parents=True)
        durable.need_space(path, self._bytes + _SPARE_BYTES)
        self._checkpoint.write(str(path / _STATE))
        _read_back(path)
        durable.seal(path, {"step": step, "loss": loss, **self._facts})

    def _prune(self):
        """Removes what is neither new nor the best, and what was never finished."""
        sealed = durable.sealed_below(self._directory)
        losses = {path: _loss(path) for path in sealed}
        scored = [path for path in sealed if losses[path] is not None]
        kept = {*sealed[-self._keep :], *([min(scored, key=losses.get)] if scored else [])}
        for path in _steps(self._directory):
            if path not in kept:
                durable.remove(path)


def optimizer_variables(optimizer):
    """An optimizer's variables; Keras' older optimizers, of which Addons' are, have a method where the current ones have a property."""
    variables = optimizer.variables
    return variables() if callable(variables) else variables


def save_network(directory, network):
    """Saves a network that was not trained by steps, for the stages after it."""
    Checkpoints(directory, network).save(0)


def newest(directory):
    """The newest whole checkpoint, a path; None where none was ever finished. Damaged ones are named in the log.

    Raises:
      UsageError: there are checkpoints, and all of them are damaged.
    """
    damages = []
    for path in reversed(durable.sealed_below(directory)):
        try:
            durable.check(path)
            return path
        except durable.DamagedError as error:
            logging.warning("checkpoint %s is damaged: %s", path, error)
            damages.append(f"{path.name}: {error}")
    if damages:
        raise UsageError(
            f"a whole checkpoint is required in {directory}, got damaged ones only ({'; '.join(damages)});"
            " put a copy back, or give another --run_dir to start again"
        )
    for path in _steps(directory):
        logging.warning("checkpoint %s was never finished and is ignored", path)
    return None


def restore_network(directory, network, classifier=True, head=True):
    """Restores an earlier stage's network from its newest checkpoint and logs what became of every variable.

    The encoder and every head layer of `network`, unless the head is new, must be there with the same shapes. What may stay behind is
    this and no more: head layers above those that `network` keeps, the optimizer, the memory of pretraining, and with
    `classifier=False` the classifier.

    Args:
      directory: a run's checkpoint directory, or one that holds an export.
      network: a built `Network`; it may keep fewer head layers than the saved one.
      classifier: restore the classifier too; a new one has nothing to restore.
      head: restore the head layers too; likewise.

    Raises:
      UsageError: there is no checkpoint, or it lacks a variable, or has another one or another shape; nothing is restored then.
    """
    path = newest(directory)
    if path is None:
        raise UsageError(f"a checkpoint is required in {directory}, found none; run the earlier stage to its end first")
    reader = tf.train.load_checkpoint(str(path / (_EXPORTED if (path / _EXPORTED).parent.is_dir() else _STATE)))
    # An export keeps the variables in a flat dict, where a slash within a key is spelt .S
    saved = {key[len("network/") : -len(_KEY)].replace(".S", "/"): key for key in reader.get_variable_to_shape_map() if _is_of_network(key)}
    wanted = named_variables(network)
    new = [part for part, restored in (("classifier/", classifier), ("head/", head)) if not restored]
    fresh = {name for name in wanted if name.startswith(tuple(new))}
    kept = len(network.head.layers)
    behind = {name for name in saved if _head_layer(name) >= kept or (not classifier and name.startswith("classifier/"))}
    restored = sorted(set(wanted) - fresh)
    _compare(path, {name: tuple(wanted[name].shape) for name in restored}, saved, behind, reader)
    for name in restored:
        wanted[name].assign(reader.get_tensor(saved[name]))
    behind |= {key for key in reader.get_variable_to_shape_map() if key.startswith("memory/")}
    logging.info("from %s: %s", path, _table({"restored": restored, "new": sorted(fresh), "left behind": sorted(behind)}))


def named_variables(network):
    """The variables of a network under the names that checkpoints give them: dict from `encoder/stem/…/kernel`.

    As a checkpoint does, it goes breadth first through what objects hold: a variable has the first, shortest path that leads to it.
    """
    view, paths, queue = tf.train.TrackableView(network), {id(network): ""}, collections.deque([network])
    named = {}
    while queue:
        parent = queue.popleft()
        for key, child in view.children(parent).items():
            if id(child) in paths:
                continue
            paths[id(child)] = f"{paths[id(parent)]}/{key}".lstrip("/")
            queue.append(child)
            if isinstance(child, tf.Variable):
                named[paths[id(child)]] = child
    return named


def _compare(path, wanted, saved, behind, reader):
    """Raises UsageError, naming the first variables, unless the checkpoint has exactly those wanted and those that stay behind."""
    shapes = reader.get_variable_to_shape_map()
    missing = sorted(set(wanted) - set(saved))
    unknown = sorted(set(saved) - set(wanted) - behind)
    reshaped = [
        f"{name} is {shapes[saved[name]]} instead of {list(shape)}"
        for name, shape in sorted(wanted.items())
        if name in saved and tuple(shapes[saved[name]]) != shape
    ]
    told = [
        f"{words} {', '.join(names[:3])}" for words, names in (("missing", missing), ("too many", unknown), ("shape", reshaped)) if names
    ]
    if told:
        raise UsageError(f"{path} must hold the network required: {'; '.join(told)}; use a run of the same architecture")


def _is_of_network(key):
    """Whether a checkpoint's key is a variable of the network; Keras' older optimizers file their slots under the variables."""
    return key.startswith("network/") and ".OPTIMIZER_SLOT" not in key


def _head_layer(name):
    """The number of the head layer that a variable belongs to, -1 for another part."""
    found = re.match(r"head/layers/(\d+)/", name)
    return int(found.group(1)) if found else -1


def _table(groups):
    """`restored 62 (encoder 60, head 2), new 2 (classifier 2)`."""
    words = []
    for word, names in groups.items():
        parts = [name.partition("/")[0] for name in names]
        counts = ", ".join(f"{part} {parts.count(part)}" for part in dict.fromkeys(parts))
        words.append(f"{len(names)} {word}" + (f" ({counts})" if counts else ""))
    return ", ".join(words)


def _read_back(path):
    """Reads every tensor again, which compares it with its checksum. Raises NotFiniteError where one is not finite."""
    reader = tf.train.load_checkpoint(str(path / _STATE))
    for key in reader.get_variable_to_shape_map():
        value = reader.get_tensor(key)
        if isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise NotFiniteError(f"{key[: -len(_KEY)]} is not finite: the checkpoint is not kept; the one before it is the last good one")


def _reason(error):
    """What TensorFlow says of a restore that failed, cut down to the kind of failure and the variables it names."""
    text = str(error)
    kinds = {"incompatible tensor": "another shape", "Unresolved object": "unknown here", "not bound to checkpointed": "missing"}
    kind = next((words for sign, words in kinds.items() if sign in text), "")
    names = re.findall(r"tf\.Variable '([^']+)'|full_name: \"([^\"]+)\"|and name (\S+?)\.?$", text, re.MULTILINE)
    names = [next(filter(None, found)).removesuffix(":0") for found in names]
    return f"{kind}: {', '.join(names[:3])}" if kind and names else " ".join(text.split())[:300]


def _steps(directory):
    """All checkpoint directories, oldest first."""
    return sorted(path for path in pathlib.Path(directory).glob("step-*") if path.is_dir())


def _step_of(path):
    return int(path.name.rpartition("-")[2])


def _loss(path):
    try:
        return durable.read_manifest(path).get("loss")
    except durable.DamagedError:
        return None
