"""What a run directory holds; every stage writes one and later stages read it.

config.json       the settings, and what was found out from them: architecture, class names, labels used, data fingerprint, versions
metrics.jsonl     one line per epoch of training
tensorboard/      the same for TensorBoard
checkpoints/      the newest checkpoints of an unfinished or finished training
report/           evaluation.json, .md, .png; results.json
export/           the SavedModel
done.json         written last: the stage finished, and its result
"""

import dataclasses
import json
import os
import pathlib

from tf_simclr.config import Config, ModelConfig, from_dict, used_settings
from tf_simclr.errors import UsageError


def _write_json(path, value):
    """Writes beside the target and renames, so that a reader sees the old file or the new one."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(temporary, path)


def _differences(old, new, prefix=""):
    """Names of settings that differ between two nested dicts, with both values."""
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            yield f"{prefix}{key} was {a!r} and is {b!r}"


class RunDirectory:
    """Paths and metadata of one run.

    Args:
      path: the directory; made when something is written.
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.metrics = self.path / "metrics.jsonl"
        self.report = self.path / "report"
        self.export = self.path / "export"
        self._config = self.path / "config.json"
        self._done = self.path / "done.json"

    def start(self, config, facts):
        """Records settings and facts, or checks that they are those of the run that is continued.

        Args:
          config: the `Config`.
          facts: JSON-able dict: model, selector, class_names, label_indices, data (fingerprint and size), parent, versions.

        Raises:
          UsageError: the directory belongs to a run with other settings; names the first that differ.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self._config.exists():
            changed = list(_differences(used_settings(self.config()), used_settings(config)))
            changed += list(_differences({"data": self.facts()["data"]}, {"data": facts["data"]}))
            if changed:
                raise UsageError(
                    f"{self.path} holds a run with other settings: {'; '.join(changed[:3])}; continue it with its own settings,"
                    " or give another --run_dir"
                )
        _write_json(self._config, {"settings": dataclasses.asdict(config), **facts})

    def finish(self, result):
        """Marks the run as finished, with its JSON-able result."""
        _write_json(self._done, result)

    @property
    def result(self):
        """The result of a finished run, or None."""
        return json.loads(self._done.read_text()) if self._done.exists() else None

    def facts(self):
        """What `start` recorded.

        Raises:
          UsageError: the directory is missing or is not a run.
        """
        if not self._config.exists():
            there = "a directory without config.json" if self.path.is_dir() else "nothing at that path"
            raise UsageError(f"--from must be the run directory of an earlier stage, got {self.path} ({there}); run that stage first")
        return json.loads(self._config.read_text())

    def config(self):
        """The settings of this run, a `Config`."""
        return from_dict(Config, self.facts()["settings"])

    def spec(self):
        """The resolved architecture of this run, a `ModelConfig`."""
        return from_dict(ModelConfig, self.facts()["model"])
