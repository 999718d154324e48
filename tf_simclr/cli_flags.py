"""Dataclass fields ↔ absl flags: `read` makes flags of an argument list, `to_config` makes a `Config` of flags.

Flags live in a private `absl.flags.FlagValues`, never in the global one, and nothing here loads TensorFlow or NumPy.

Which value a setting gets, the later the stronger:
  1. the default in `config.py`;
  2. the unprefixed flag, for the sections that the stage uses: `--learning_rate`;
  3. the flag with the section's name: `--finetune_learning_rate`.
Within one flag, the last one given counts; a flag file counts where `--flagfile` stands.
"""

import difflib

from absl import flags

from tf_simclr.config import FITS, STUDENT, USES, Config, replace, sections, used_sections
from tf_simclr.errors import UsageError
from tf_simclr.option import check, options

# Sections whose flags carry no prefix; the others belong to one way of training each.
PLAIN = ("", "data", "model")


def flag_name(section, field):
    """The flag of a section's field: `--from`, `--depth`, `--finetune_learning_rate`."""
    name = field.metadata["flag"] or field.name
    return name if section in PLAIN else f"{section}_{name}"


def shared_fields():
    """Unprefixed flags: {name: {section: field}} for the fields of the training sections, in order.

    A name that a plain flag already has (`depth`, `width`, `backbone`) stays with the plain flag.
    """
    parts = sections(Config())
    plain = {flag_name(section, field) for section in PLAIN for field in options(parts[section])}
    shared = {}
    for section in FITS:
        for field in options(parts[section]):
            if field.name not in plain:
                shared.setdefault(field.name, {})[section] = field
    return shared


def _boolean(text):
    try:
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
    except KeyError:
        raise ValueError(text) from None


class _Typed(flags.ArgumentParser):
    """Text to the field's type. Choices and bounds are `config.check`'s, so that Python and the shell hear the same words."""

    kinds = {str: (str, ""), int: (int, "a whole number"), float: (float, "a number"), bool: (_boolean, "true or false")}

    def __init__(self, kind):
        super().__init__()
        self.convert, self.words = self.kinds[kind]

    def parse(self, argument):
        try:
            return self.convert(argument)
        except ValueError:
            raise ValueError(f"must be {self.words}") from None


def build_flags():
    """A fresh `absl.flags.FlagValues` with a flag for every field; each is None until it is given."""
    values = flags.FlagValues()
    values.set_gnu_getopt()  # flags may follow a (refused) positional argument, so that --help is always heard

    def define(name, field):
        flag = flags.Flag(_Typed(field.type), None, name, None, field.metadata["help"], boolean=field.type is bool)
        flags.DEFINE_flag(flag, flag_values=values)

    for section, part in sections(Config()).items():
        for field in options(part):
            define(flag_name(section, field), field)
    for name, owners in shared_fields().items():
        define(name, next(iter(owners.values())))
    flags.DEFINE_boolean("help", False, "show this help", short_name="h", flag_values=values)
    flags.DEFINE_boolean("version", False, "show the version", flag_values=values)
    flags.DEFINE_boolean("debug", False, "show the traceback of an error", flag_values=values)
    # absl expands flag files before it looks at flags; the name is defined for the sake of its suggestions.
    flags.DEFINE_string("flagfile", None, "read flags from this file, one a line; # begins a comment line", flag_values=values)
    return values


def read(argv):
    """Parses arguments (without the program's name) to a `FlagValues`. Raises UsageError for what cannot be parsed."""
    values = build_flags()
    try:
        rest = values(["tf-simclr", *argv])[1:]
    except flags.UnrecognizedFlagError as error:
        raise UsageError(_unknown(error.flagname, list(values))) from None
    except flags.CantOpenFlagFileError as error:
        raise UsageError(f"--flagfile needs a file that can be read: {str(error).rpartition('flagfile: ')[2]}") from None
    except UnicodeDecodeError:
        raise UsageError("--flagfile needs a text file of flags, one a line, got a file that is not text") from None
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error)) from None
    if rest and not values["help"].value:
        raise UsageError(f"every argument must be a flag such as --stage=pretrain, got {rest[0]!r}; run tf-simclr --help for the list")
    return values


def _unknown(name, names):
    """absl only suggests flags that begin alike; this also finds a letter left out (`--stge`)."""
    near = [other for other in names if other.startswith(name)] or difflib.get_close_matches(name, names, n=1)
    return f"unknown flag --{name}; " + (f"did you mean --{near[0]}?" if near else "run tf-simclr --help for the list")


def to_config(values):
    """The `Config` of parsed flags. Raises UsageError for a value or a flag that cannot be."""
    parts, given = sections(Config()), _given(values)
    stage = given.get("stage", Config().stage)
    check(next(field for field in options(Config) if field.name == "stage"), stage)
    changes = {}
    # Unprefixed first: what carries a section's name then overwrites it.
    for name, takers in _takers(given, stage).items():
        if not takers:
            raise UsageError(_useless(name, shared_fields()[name], stage))
        changes.update({f"{section}__{name}": given[name] for section in takers})
    for section, part in parts.items():
        for field in options(part):
            if (name := flag_name(section, field)) in given:
                changes[f"{section}__{field.name}" if section else field.name] = given[name]
    return replace(Config(), **changes)


def overruled(values):
    """One line for every unprefixed flag of good `values` that sets nothing, since each section that takes it was given its own.

    Most often the section's flag stands in a flag file, and whoever adds `--temperature=1` to the command does not see it.
    """
    given = _given(values)
    lines = []
    for name, takers in _takers(given, given.get("stage", Config().stage)).items():
        own = [f"{section}_{name}" for section in takers]
        if all(flag in given for flag in own):
            winners = ", ".join(f"--{flag}={given[flag]}" for flag in own)
            lines.append(f"--{name}={given[name]} does nothing: a flag with a section's name wins ({winners}); change that one")
    return lines


def _given(values):
    return {name: values[name].value for name in values if values[name].present}


def _takers(given, stage):
    """{unprefixed flag that is given: the sections that take it, of those that the stage uses}."""
    used = used_sections(stage, bool(given.get("from")), any(given.get(f"student_{name}") for name in STUDENT))
    return {name: [part for part in used if part in owners] for name, owners in shared_fields().items() if name in given}


def _useless(name, owners, stage):
    takers = [other for other, used in USES.items() if set(used) & set(owners)]
    return f"--{name} does nothing in --stage={stage}; it is taken by --stage={', '.join(takers)}"
