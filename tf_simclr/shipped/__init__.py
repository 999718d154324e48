"""Runs that ship with the package, each with its weights in an export: `--from=pretrained:NAME`. What each holds says its README.md."""

import pathlib

from tf_simclr.errors import UsageError

PREFIX = "pretrained:"


def locate(path):
    """The directory of a run: the path itself, or for `pretrained:NAME` where the package keeps it.

    Raises:
      UsageError: no run of that name ships.
    """
    if not str(path).startswith(PREFIX):
        return pathlib.Path(path)
    name, home = str(path)[len(PREFIX) :], pathlib.Path(__file__).parent
    names = sorted(entry.parent.name for entry in home.glob("*/config.json"))
    if name not in names:
        raise UsageError(f"--from=pretrained:NAME must name a run that ships, {', '.join(names)}, got {name!r}")
    return home / name
