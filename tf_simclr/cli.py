"""The command line: dataclass fields become flags, flags become a `Config`, errors become one line.

Flags live in a private `absl.flags.FlagValues`, never in the global one, and nothing here loads TensorFlow or NumPy before
the settings are known to be good: `--help` and a mistyped flag answer at once.

Which value a setting gets, the later the stronger:
  1. the default in `config.py`;
  2. the unprefixed flag, for the sections that the stage uses: `--learning_rate`;
  3. the flag with the section's name: `--finetune_learning_rate`.
Within one flag, the last one given counts; a flag file counts where `--flagfile` stands.
"""

import difflib
import os
import shutil
import sys
import textwrap
import traceback
import warnings

from absl import flags

import tf_simclr
from tf_simclr.config import Config, check, options, replace, sections
from tf_simclr.errors import UsageError

# Sections whose flags carry no prefix; the others belong to one way of training each.
PLAIN = ("", "data", "model")
FITS = tuple(name for name in sections(Config()) if name not in PLAIN)

# The sections that a stage may read. Where there are two, `used_sections` chooses.
USES = {
    "pretrain": ("pretrain",),
    "linear_eval": ("linear_eval",),
    "finetune": ("finetune", "supervised"),
    "distill": ("distill", "student"),
    "evaluate": (),
    "export": (),
    "pipeline": FITS,
}

STAGE_HELP = {
    "pretrain": ("learn features from images alone", "--stage=pretrain --run_dir=runs/pre"),
    "linear_eval": ("logistic regression on the frozen features", "--stage=linear_eval --from=runs/pre --labels_per_class=10"),
    "finetune": (
        "train on few labels; without --from, the supervised baseline",
        "--stage=finetune --from=runs/pre --labels_per_class=10 --run_dir=runs/fine",
    ),
    "distill": (
        "teach a student by a fine-tuned teacher; --student_depth or --student_width changes its size",
        "--stage=distill --from=runs/fine --run_dir=runs/student --student_width=0.5",
    ),
    "evaluate": ("score a run: JSON, Markdown and a picture", "--stage=evaluate --from=runs/fine"),
    "export": ("write a SavedModel that works without this package", "--stage=export --from=runs/fine"),
    "pipeline": ("all of it in one run, compared in one table", "--flagfile=flags/quickstart.flags"),
}

HEADINGS = {"": "Run", "data": "Data", "model": "Model"}


def flag_name(section, field):
    """The flag of a section's field: `--from`, `--depth`, `--finetune_learning_rate`."""
    name = field.metadata["flag"] or field.name
    return name if section in PLAIN else f"{section}_{name}"


def shared_fields():
    """Unprefixed flags: {name: {section: field}} for the fields of the training sections, in order.

    A name that a plain flag already has (`depth`, `width`) stays with the plain flag.
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
        raise UsageError(_unknown(error, values)) from None
    except flags.CantOpenFlagFileError as error:
        raise UsageError(f"--flagfile needs a file that can be read: {str(error).rpartition('flagfile: ')[2]}") from None
    except UnicodeDecodeError:
        raise UsageError("--flagfile needs a text file of flags, one a line, got a file that is not text") from None
    except (flags.Error, ValueError) as error:
        raise UsageError(str(error)) from None
    if rest and not values["help"].value:
        raise UsageError(f"every argument must be a flag such as --stage=pretrain, got {rest[0]!r}; run tf-simclr --help for the list")
    return values


def _unknown(error, values):
    """absl suggests flags that begin alike; a letter left out (`--stge`) needs another measure."""
    message = str(error)
    if "Did you mean" not in message:
        near = difflib.get_close_matches(error.flagname, list(values), n=1)
        message += f". Did you mean: {near[0]} ?" if near else "; run tf-simclr --help for the list"
    return message


def used_sections(stage, from_run, student):
    """The sections that an unprefixed flag is for.

    Args:
      stage: the stage's name.
      from_run: whether an earlier run is given; fine-tuning without one is the supervised baseline.
      student: whether the student's architecture is given.

    Returns:
      A tuple of section names, empty for a stage that trains nothing.
    """
    if stage == "finetune":
        return ("finetune",) if from_run else ("supervised",)
    if stage == "distill":
        return ("student",) if student else ("distill",)
    return USES[stage]


def to_config(values):
    """The `Config` of parsed flags. Raises UsageError for a value or a flag that cannot be."""
    parts = sections(Config())
    given = {name: values[name].value for name in values if values[name].present}
    stage = given.get("stage", Config().stage)
    check(next(field for field in options(Config) if field.name == "stage"), stage)
    used = used_sections(stage, bool(given.get("from")), bool(given.get("student_depth") or given.get("student_width")))
    changes = {}
    # Unprefixed first: what carries a section's name then overwrites it.
    for name, owners in shared_fields().items():
        if name in given:
            takers = [section for section in used if section in owners]
            if not takers:
                raise UsageError(_useless(name, owners, stage))
            changes.update({f"{section}__{name}": given[name] for section in takers})
    for section, part in parts.items():
        for field in options(part):
            if (name := flag_name(section, field)) in given:
                changes[f"{section}__{field.name}" if section else field.name] = given[name]
    return replace(Config(), **changes)


def _useless(name, owners, stage):
    takers = [other for other, used in USES.items() if set(used) & set(owners)]
    return f"--{name} does nothing in --stage={stage}; it is taken by --stage={', '.join(takers)}"


def parse(argv):
    """The settings that a list of arguments stands for; nothing is started and nothing global changes.

    Args:
      argv: list of str without the program's name, for example `["--stage=pretrain", "--depth=10"]`.

    Returns:
      A validated `tf_simclr.Config`.

    Raises:
      UsageError: for an unknown flag, a value outside its type, choices or bounds, a flag that the stage does not take, a
        positional argument, or a flag file that cannot be read.
    """
    return to_config(read(argv))


def _value(value):
    """A default as one would write it in a flag."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def _range(field):
    """' (one of 1, 2)', ' (0 to 1)', ' (above 0)' or nothing."""
    m = field.metadata
    if m["choices"] is not None:
        return f" (one of {', '.join(map(str, m['choices']))})"
    if m["low"] is not None and m["high"] is not None:
        return f" ({m['low']} to {m['high']})"
    bounds = (("above", "above"), ("low", "at least"), ("high", "at most"))
    words = [f"{word} {m[key]}" for key, word in bounds if m[key] is not None]
    return f" ({', '.join(words)})" if words else ""


def _row(left, right, width, indent=24):
    """One aligned entry; the right column is wrapped, and begins a line of its own under a long name."""
    head = f"  {left}"
    lines = textwrap.wrap(right, width - indent, break_on_hyphens=False)
    if len(head) + 2 > indent:
        return "\n".join([head, *(" " * indent + line for line in lines)])
    return "\n".join([head.ljust(indent) + lines[0], *(" " * indent + line for line in lines[1:])])


def _describe(owners):
    """Help, range and default of one flag in the sections that own it; sections that differ in words are told apart."""
    variants = {}
    for section, field in owners.items():
        variants.setdefault(field.metadata["help"] + _range(field), {}).setdefault(_value(field.default), []).append(section)
    said = []
    for words, defaults in variants.items():
        (first, _), *others = defaults.items()
        also = "".join(f"; {value} in {', '.join(names)}" for value, names in others)
        named = ", ".join(name for names in defaults.values() for name in names)
        said.append((f"{named}: " if len(variants) > 1 else "") + f"{words} [{first}{also}]")
    return said


def help_text(width=100):
    """The text of `--help`, at most `width` columns where words allow; flags are grouped by the sections that own them."""
    text = [
        "Usage: tf-simclr --stage=STAGE [flags]        SimCLRv2: pretrain, fine-tune, distill",
        "",
        "Stages, each with an example",
    ]
    for stage, (meaning, example) in STAGE_HELP.items():
        text += [_row(stage, meaning, width, indent=16), f"{'':16}tf-simclr {example}"]
    parts = sections(Config())
    for section in PLAIN:
        text += ["", f"{HEADINGS[section]} flags"]
        for field in options(parts[section]):
            name = f"--[no]{field.name}" if field.type is bool else f"--{flag_name(section, field)}"
            text.append(_row(name, *_describe({section: field}), width))
    text += ["", "Training flags"]
    rule = (
        "Without a prefix they set what the stage trains (--learning_rate), and in a pipeline every section that has them. With a"
        f" prefix they set one section (--finetune_learning_rate), and win. Prefixes: {', '.join(FITS)}. Defaults are in brackets."
    )
    text += textwrap.wrap(rule, width, initial_indent="  ", subsequent_indent="  ")
    grouped = {}
    for name, owners in shared_fields().items():
        grouped.setdefault(tuple(owners), []).append((f"--{name}", owners))
    for section in FITS:
        for field in options(parts[section]):
            if field.name not in shared_fields():
                grouped.setdefault((section,), []).append((f"--{flag_name(section, field)}", {section: field}))
    for names, entries in grouped.items():
        text += ["", f"Flags of {', '.join(names)}"]
        for name, owners in entries:
            first, *others = _describe(owners)
            text += [_row(name, first, width), *(_row("", other, width) for other in others)]
    values = build_flags()
    text += ["", "Flags of the command line alone"]
    text += [_row(f"--{name}", values[name].help, width) for name in ("help", "version", "debug", "flagfile")]
    return "\n".join(text)


def _prepare():
    """Makes TensorFlow quiet and our own log visible. Must run before TensorFlow is loaded."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Addons announces its end of life at every import; the lock files pin the last release on purpose.
    warnings.filterwarnings("ignore", message=r"\s*TensorFlow Addons")
    # Imported here because absl's logging defines flags of its own in the global FLAGS.
    from absl import logging

    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.set_stderrthreshold(logging.INFO)


def _complain(message):
    print(f"tf-simclr: error: {' '.join(message.split())}", file=sys.stderr)


def main(argv=None):
    """Runs one command.

    Args:
      argv: list of str without the program's name; None takes those of the process.

    Returns:
      The exit code: 0 done, 1 an unforeseen error, 2 an error that the user can mend, 130 interrupted.
    """
    debug = False
    try:
        values = read(sys.argv[1:] if argv is None else list(argv))
        debug = values["debug"].value
        if values["help"].value:
            print(help_text(min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)))
            return 0
        if values["version"].value:
            print(f"tf-simclr {tf_simclr.__version__}")
            return 0
        config = to_config(values)
        _prepare()
        from tf_simclr.stages import run

        run(config)
        return 0
    except KeyboardInterrupt:
        print("tf-simclr: interrupted", file=sys.stderr)
        return 130
    except UsageError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        return 2
    except Exception as error:  # the edge of the program: everything unforeseen becomes one line
        if debug:
            traceback.print_exc()
            return 1
        _complain(f"{type(error).__name__}: {error} (run again with --debug for the traceback)")
        return 1
