"""One setting: a dataclass field that knows its help and bounds, from which come the flag and the validation."""

import dataclasses
import math

from tf_simclr.errors import UsageError


def option(default, help, *, choices=None, low=None, high=None, above=None, flag=None):
    """A dataclass field with what the command line and the validation need to know about it.

    Args:
      default: the default value; its annotation gives the type.
      help: one sentence for `--help`.
      choices: the values allowed, for names and enumerations.
      low, high: inclusive bounds.
      above: exclusive lower bound.
      flag: the flag's name, when it cannot be the field's name.
    """
    metadata = {"help": help, "choices": choices, "low": low, "high": high, "above": above, "flag": flag}
    return dataclasses.field(default=default, metadata=metadata)


def options(section):
    """The fields of a section (instance or class) that a user can set, in order."""
    return [f for f in dataclasses.fields(section) if "help" in f.metadata]


def check(field, value, prefix=""):
    """Raises UsageError when a value is outside its field's type, choices or bounds; `prefix` goes before the name."""
    name = prefix + (field.metadata["flag"] or field.name)
    allowed = (int, float) if field.type is float else field.type
    if not isinstance(value, allowed) or (isinstance(value, bool) and field.type is not bool):
        raise UsageError(f"{name} must be {field.type.__name__}, got {value!r}")
    if field.type is float and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value}")
    m = field.metadata
    if m["choices"] is not None and value not in m["choices"]:
        raise UsageError(f"{name} must be one of {', '.join(map(str, m['choices']))}, got {value!r}")
    bounds = (("low", "at least", lambda b: value >= b), ("high", "at most", lambda b: value <= b), ("above", "above", lambda b: value > b))
    for key, words, holds in bounds:
        if m[key] is not None and not holds(m[key]):
            raise UsageError(f"{name} must be {words} {m[key]}, got {value}")
