"""What a run directory holds; every stage writes one and later stages read it.

config.json       the settings, and what was found out from them: architecture, class names, labels used, data fingerprint, versions
contents.bin      digests of the training images' contents, sorted, 16 bytes each; absent in runs of earlier versions
quarantine.csv    images that cannot be used, with the reason; absent where there are none
metrics.jsonl     one line per epoch of training
tensorboard/      the same for TensorBoard
checkpoints/      the newest checkpoints of an unfinished or finished training, and the one of the lowest loss
report/           evaluation.json, .md, .png; results.json; tflite.json, .md
export/           the SavedModel
done.json         written last: the stage finished, and its result
lock.json         the process that writes here
replaced/         what lay here when --force started it again
"""

import csv
import dataclasses
import errno
import io
import json
import os
import pathlib
import time

import numpy as np
from absl import logging

from tf_simclr import durable, lock, shipped
from tf_simclr.config import IN_MEMORY, WHERE_FROM, Config, ModelConfig, from_dict, used_settings
from tf_simclr.errors import UsageError
from tf_simclr.option import check, options

# An example of everything in config.json: another kind of value is refused. Label indices and parent may also be null.
_EXAMPLE = {
    "settings": {},
    "model": {},
    "selector": 1,
    "class_names": ["a"],
    "label_indices": [0],
    "data": {"images": 1, "fingerprint": ""},
    "parent": {"path": "", "identity": ""},
    "versions": {},
}
FACTS = tuple(_EXAMPLE)
_PLACES = ("data_dir", "unlabeled_dir", "eval_data_dir")
_CONTENT = ("config.json", "contents.bin", "quarantine.csv", "metrics.jsonl", "tensorboard", "checkpoints", "report", "export", "done.json")


def _differences(old, new, prefix=""):
    """Names of settings that differ between two nested dicts, with both values."""
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key} was {a!r} and is {b!r}"


def read_object(path):
    """A JSON object, as data and nothing else. Raises UsageError for another file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} must be a JSON file that this package wrote, but cannot be read ({error}); put a copy back") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} must hold a JSON object, got {type(value).__name__}; put a copy back")
    return value


def _without_repeats(pairs):
    """A JSON object as a dict; of a key that stands twice, people and programs might each believe another value."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError(f"a key twice among {', '.join(key for key, _ in pairs)}"[:200])
    return dict(pairs)


def _is_like(value, example):
    """Whether a JSON value has the types of an example; objects may hold more, lists any number of such elements."""
    if isinstance(example, dict):
        return isinstance(value, dict) and all(key in value and _is_like(value[key], part) for key, part in example.items())
    if isinstance(example, list):
        return isinstance(value, list) and all(_is_like(part, example[0]) for part in value)
    return type(value) is type(example)


def check_path(path):
    """Raises UsageError for a directory that TensorFlow writes checkpoints or exports to and then does not find them in."""
    if "://" in str(path):
        raise UsageError(
            f"the directory of a run or an export must be on a file system of this machine, got {path}; give a local or mounted one (with"
            " a TPU: on its VM, with --tpu=local)"
        )
    # It takes paths for patterns when it looks for a checkpoint, with no way to say that they are none. Surrogates stand for no UTF-8.
    if any(character in "[\\" or "\ud800" <= character <= "\udfff" for character in str(path)):
        raise UsageError(
            f"the directory of a run or an export needs a path in UTF-8 without [ and \\, which TensorFlow takes for a pattern,"
            f" got {str(path)!r}; give another one"
        )


def among_images(directory, settings):
    """Which setting of a `DataConfig` names a folder whose images a directory's pictures would count among; "" for none.

    A directory below one whose name begins with a dot is not looked into.
    """
    home = pathlib.Path(directory).resolve()
    for name in ("data_dir", "unlabeled_dir", "eval_data_dir") if settings.dataset == "folder" else ():
        place = getattr(settings, name)
        folder = pathlib.Path(place).resolve()
        if place and folder in home.parents and not any(part.startswith(".") for part in home.relative_to(folder).parts):
            return name
    return ""


def make_directory(path):
    """Makes a directory and those above it, unless they are there. Raises UsageError where there can be none that is written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(path, os.W_OK) else "it cannot be written to"
    except (FileExistsError, NotADirectoryError):
        reason = "a file is in its place"
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        reason = error.strerror
    if reason:
        raise UsageError(f"--run_dir must be a directory to write to, got {path} ({reason}); give another one")


def write_quarantine(directory, bad):
    """Lists images that are left out, in quarantine.csv: a sequence of (name, reason)."""
    table = io.StringIO()
    csv.writer(table).writerows([("path", "reason"), *bad])
    durable.attempt(lambda: durable.write_text(directory / "quarantine.csv", table.getvalue()), "quarantine.csv")


def last_metrics(path):
    """The last line of a metrics.jsonl, a dict, without half a line that a crash left; empty where there is none."""
    for line in reversed(path.read_text().splitlines() if path.exists() else []):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return {}


def lineage(run, same=True):
    """A `RunDirectory` and the earlier ones that it goes back to, the latest first, see `RunDirectory.earlier`."""
    while run is not None:
        yield run
        run = run.earlier(same)


class RunDirectory:
    """Paths and metadata of one run.

    Args:
      path: the directory; made when something is written.
      writes: whether this process writes there; of many workers only one does.
      alone: whether there are no other workers.

    Raises:
      UsageError: TensorFlow could not read checkpoints there, see `check_path`.
    """

    def __init__(self, path, writes=True, alone=True):
        check_path(path)
        self.path, self.writes, self.alone = pathlib.Path(path), writes, alone
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self.report = self.path / "report"
        self.export = self.path / "export"
        self._contents = self.path / "contents.bin"
        self._config = self.path / "config.json"
        self._done = self.path / "done.json"

    def start(self, config, facts):
        """Checks that settings and facts are those of the run that the directory holds, if it holds one; who `writes` records them.

        Args:
          config: the `Config`. With `force`, a run with other settings is set aside below `replaced/`.
          facts: JSON-able dict of the other `FACTS`: model, selector, class_names, label_indices, data (fingerprints and sizes), parent
            (path and identity of the earlier run, or None), versions.

        Raises:
          UsageError: the directory belongs to a run with other settings, naming the first that differ; another process writes there; or
            see `make_directory`.
        """
        if self.writes:
            make_directory(self.path)
            lock.acquire(self.path)
        # By force one process sets aside, and the others look at nothing meanwhile.
        looks = self._config.exists() and (self.writes or not config.force)
        changed = self._changes(config, facts) if looks else []
        if looks and not changed and self.result is None:
            begun, now = (part["versions"].get("tf_simclr", "an unknown version") for part in (self.facts(), facts))
            if begun != now:
                logging.warning("%s was begun by tf_simclr %s and goes on by %s, whose steps may be others", self.path, begun, now)
        if changed and not config.force:
            raise UsageError(
                f"{self.path} holds a run with other settings: {'; '.join(changed[:3])}; continue it with its own settings, give"
                " another --run_dir, or --force to start again (what it holds is kept in replaced/)"
            )
        if not self.writes:
            return
        if changed:
            self._set_aside()
        self._write(self._config, {"settings": dataclasses.asdict(config), **facts})

    def _changes(self, config, facts):
        """What differs from the run that the directory holds, in words."""
        old = self.facts()
        theirs, ours = used_settings(self.config()), used_settings(config)
        if config.data.dataset == IN_MEMORY:  # where such images are from is nothing to compare; what they are is, below
            theirs["data"] |= {name: ours["data"][name] for name in WHERE_FROM}
        before, now = (part["parent"] and part["parent"]["identity"] for part in (old, facts))
        if before == now:  # the same weights, wherever they lie by now
            theirs["from_run"] = ours["from_run"]
        images = list(_differences({"data": old["data"]}, {"data": {name: facts["data"].get(name) for name in old["data"]}}))
        if not images and "evaluation_fingerprint" in old["data"]:  # the same images; earlier versions did not record it
            theirs["data"] |= {name: ours["data"][name] for name in _PLACES}
        changed = [*_differences(theirs, ours), *images]
        if before != now:
            changed.append("the weights of --from are no longer those that it started from")
        return changed

    def _set_aside(self):
        home = self.path / "replaced" / time.strftime("%Y%m%d-%H%M%S")
        while home.exists():
            home = home.with_name(home.name + "x")
        home.mkdir(parents=True)
        for name in _CONTENT:
            if (self.path / name).exists():
                (self.path / name).rename(home / name)

    @staticmethod
    def _write(path, value):
        durable.attempt(lambda: durable.write_json(path, value), str(path))

    def finish(self, result):
        """Marks the run as finished, with its JSON-able result."""
        self._write(self._done, result)

    def record_contents(self, digests):
        """Keeps the digests (bytes [N], 32 hexadecimal digits each) of the training images' contents."""
        content = bytes.fromhex(b"".join(np.unique(digests)).decode())
        durable.attempt(lambda: durable.write_bytes(self._contents, content), str(self._contents))

    def contents(self):
        """The digests that `record_contents` kept, sorted; none where it kept none."""
        content = self._contents.read_bytes().hex().encode() if self._contents.exists() else b""
        return np.frombuffer(content, "S32")

    @property
    def weights(self):
        """Where `checkpoints.restore_network` finds the network: the checkpoints, or, where only an export is kept, the run itself."""
        return self.checkpoints if self.checkpoints.exists() else self.path

    def identity(self):
        """SHA-256 of the manifest of the newest checkpoint (or export), which tells one training from another; None without one."""
        sealed = durable.sealed_below(self.weights)
        return durable.sha256(sealed[-1] / durable.MANIFEST) if sealed else None

    @property
    def result(self):
        """The result of a finished run, or None."""
        return read_object(self._done) if self._done.exists() else None

    def facts(self):
        """What `start` recorded, a dict of `FACTS`.

        Raises:
          UsageError: the directory is missing or is not a run, or its file is not one that `start` writes.
        """
        if not self._config.exists():
            there = "a directory without config.json" if self.path.is_dir() else "nothing at that path"
            raise UsageError(f"--from must be the run directory of an earlier stage, got {self.path} ({there}); run that stage first")
        facts = read_object(self._config)
        if set(facts) != set(FACTS):
            wrong = sorted(set(facts) ^ set(FACTS))
            raise UsageError(f"{self._config} must hold {', '.join(FACTS)}, got one where {wrong[0]!r} is missing or too many")
        for name, example in _EXAMPLE.items():
            if not _is_like(facts[name], example) and not (facts[name] is None and name in ("label_indices", "parent")):
                raise UsageError(f"{self._config} must hold {name} as this package writes it, got {facts[name]!r:.80}; put a copy back")
        return facts

    def earlier(self, same=True):
        """The run that this one started from; None where it started from none, or that is gone or, if it must be the same, trained anew."""
        start = self.config().from_run
        if not start:
            return None
        run = RunDirectory(shipped.locate(start))
        if not run._config.exists():
            return None
        return run if not same or run.identity() == (self.facts()["parent"] or {}).get("identity") else None

    def config(self):
        """The settings of this run, a `Config`."""
        return self._read_as(Config, "settings")

    def spec(self):
        """The resolved architecture of this run, a `ModelConfig`."""
        return self._read_as(ModelConfig, "model")

    def _read_as(self, kind, name):
        values = self.facts()[name]
        try:
            built = from_dict(kind, values, name)
            for field in options(built):
                # An imported encoder may have no head, which as a setting cannot be.
                if (field.name, getattr(built, field.name)) != ("head_layers", 0):
                    check(field, getattr(built, field.name))
        except UsageError as error:
            raise UsageError(f"{self._config}: {error}; put a copy back") from error
        return built
