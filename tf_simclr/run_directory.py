"""What a run directory holds; every stage writes one and later stages read it.

config.json       the settings, and what was found out from them: architecture, class names, labels used, data fingerprint, versions
quarantine.csv    images that cannot be used, with the reason; absent where there are none
metrics.jsonl     one line per epoch of training
tensorboard/      the same for TensorBoard
checkpoints/      the newest checkpoints of an unfinished or finished training, and the one of the lowest loss
report/           evaluation.json, .md, .png; results.json
export/           the SavedModel
done.json         written last: the stage finished, and its result
lock.json         the process that writes here
replaced/         what lay here when --force started it again
"""

import csv
import dataclasses
import io
import json
import pathlib
import time

from tf_simclr import durable, lock
from tf_simclr.config import Config, ModelConfig, from_dict, used_settings
from tf_simclr.errors import UsageError

FACTS = ("settings", "model", "selector", "class_names", "label_indices", "data", "parent", "versions")
_CONTENT = ("config.json", "quarantine.csv", "metrics.jsonl", "tensorboard", "checkpoints", "report", "export", "done.json")


def _differences(old, new, prefix=""):
    """Names of settings that differ between two nested dicts, with both values."""
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key} was {a!r} and is {b!r}"


def _read(path):
    """A JSON object, as data and nothing else. Raises UsageError for another file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} must be a JSON file that this package wrote, but cannot be read ({error}); put a copy back") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} must hold a JSON object, got {type(value).__name__}; put a copy back")
    return value


class RunDirectory:
    """Paths and metadata of one run.

    Args:
      path: the directory; made when something is written.
      writes: whether this process writes there; of many workers only one does.
      alone: whether there are no other workers.
    """

    def __init__(self, path, writes=True, alone=True):
        self.path, self.writes, self.alone = pathlib.Path(path), writes, alone
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self.report = self.path / "report"
        self.export = self.path / "export"
        self._config = self.path / "config.json"
        self._done = self.path / "done.json"

    def start(self, config, facts):
        """Makes this process the directory's writer and records settings and facts, or checks that they are those of the run it holds.

        Args:
          config: the `Config`. With `force`, a run with other settings is set aside below `replaced/`.
          facts: JSON-able dict of the other `FACTS`: model, selector, class_names, label_indices, data (fingerprint and sizes), parent
            (path and identity of the earlier run, or None), versions.

        Raises:
          UsageError: the directory belongs to a run with other settings, naming the first that differ; or another process writes there.
        """
        if not self.writes:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(self.path)
        if self._config.exists():
            changed = self._changes(config, facts)
            if changed and not config.force:
                raise UsageError(
                    f"{self.path} holds a run with other settings: {'; '.join(changed[:3])}; continue it with its own settings, give"
                    " another --run_dir, or --force to start again (what it holds is kept in replaced/)"
                )
            if changed:
                self._set_aside()
        self._write(self._config, {"settings": dataclasses.asdict(config), **facts})

    def _changes(self, config, facts):
        """What differs from the run that the directory holds, in words."""
        old = self.facts()
        changed = list(_differences(used_settings(self.config()), used_settings(config)))
        changed += list(_differences({"data": old["data"]}, {"data": facts["data"]}))
        before, now = (part["parent"] and part["parent"]["identity"] for part in (old, facts))
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

    def quarantine(self, bad):
        """Lists images that are left out: a sequence of (name, reason)."""
        table = io.StringIO()
        csv.writer(table).writerows([("path", "reason"), *bad])
        durable.attempt(lambda: durable.write_text(self.path / "quarantine.csv", table.getvalue()), "quarantine.csv")

    def identity(self):
        """SHA-256 of the newest checkpoint's manifest, which tells one training from another; None without a checkpoint."""
        sealed = durable.sealed_below(self.checkpoints)
        return durable.sha256(sealed[-1] / durable.MANIFEST) if sealed else None

    @property
    def result(self):
        """The result of a finished run, or None."""
        return _read(self._done) if self._done.exists() else None

    def facts(self):
        """What `start` recorded, a dict of `FACTS`.

        Raises:
          UsageError: the directory is missing or is not a run, or its file is not one that `start` writes.
        """
        if not self._config.exists():
            there = "a directory without config.json" if self.path.is_dir() else "nothing at that path"
            raise UsageError(f"--from must be the run directory of an earlier stage, got {self.path} ({there}); run that stage first")
        facts = _read(self._config)
        if set(facts) != set(FACTS):
            wrong = sorted(set(facts) ^ set(FACTS))
            raise UsageError(f"{self._config} must hold {', '.join(FACTS)}, got one where {wrong[0]!r} is missing or too many")
        return facts

    def config(self):
        """The settings of this run, a `Config`."""
        return from_dict(Config, self.facts()["settings"])

    def spec(self):
        """The resolved architecture of this run, a `ModelConfig`."""
        return from_dict(ModelConfig, self.facts()["model"])
