"""The text of `--help`, drawn from the same fields as the flags."""

import textwrap

from tf_simclr.cli_flags import FITS, PLAIN, build_flags, flag_name, shared_fields
from tf_simclr.config import Config, sections
from tf_simclr.option import options

STAGE_HELP = {
    "inspect": ("look at a data set before training: what it holds, what is wrong, what fits it", "--stage=inspect --data_dir=DIR"),
    "preview": ("a picture of the views that pretraining will see", "--stage=preview --data_dir=DIR --crop_min_area=0.3"),
    "pretrain": ("learn features from images alone", "--stage=pretrain --run_dir=runs/pre"),
    "linear_eval": ("logistic regression on the frozen features", "--stage=linear_eval --from=runs/pre --labels_per_class=10"),
    "finetune": (
        "train on few labels; without --from, the supervised baseline",
        "--stage=finetune --from=runs/pre --labels_per_class=10 --run_dir=runs/fine",
    ),
    "distill": (
        "teach a student by a fine-tuned teacher; --student_backbone, --student_depth or --student_width makes it another",
        "--stage=distill --from=runs/fine --run_dir=runs/student --student_width=0.5",
    ),
    "evaluate": ("score a run: JSON, Markdown and a picture", "--stage=evaluate --from=runs/fine"),
    "predict": ("classify images: a CSV file of path, class, probability, status", "--stage=predict --from=runs/fine --data_dir=DIR"),
    "embed": (
        "features of images: an npz file, pictures of nearest neighbours and of a map",
        "--stage=embed --from=runs/fine --data_dir=DIR",
    ),
    "export": ("write a SavedModel that works without this package", "--stage=export --from=runs/fine"),
    "demo": ("a page on 127.0.0.1 to drop images on; --from is a run that was exported, or an export", "--stage=demo --from=runs/fine"),
    "pipeline": ("all of it in one run, compared in one table", "--flagfile=flags/quickstart.flags"),
    "plan": (
        "what a recipe takes, from shapes alone: FLOPs, memory, steps, hours on accelerators",
        "--stage=plan --depth=50 --image_size=224 --images=1281167",
    ),
}

HEADINGS = {"": "Run", "data": "Data", "model": "Model"}


def _value(value):
    """A default as one would write it in a flag."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def _range(field):
    """' (one of 1, 2)', ' (0 to 1)', ' (above 0)' or nothing; nothing also where the help spells out the lowest value: '(0: none)'."""
    m = field.metadata
    if m["choices"] is not None:
        return f" (one of {', '.join(map(str, m['choices']))})"
    if m["low"] is not None and m["high"] is not None:
        return f" ({m['low']} to {m['high']})"
    if f"({m['low']}: " in m["help"]:
        return ""
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


def _stages(width):
    for stage, (meaning, example) in STAGE_HELP.items():
        yield _row(stage, meaning, width, indent=16)
        yield f"{'':16}tf-simclr {example}"


def _plain_flags(width):
    """The flags that need no prefix, section by section."""
    for section in PLAIN:
        yield from ("", f"{HEADINGS[section]} flags")
        for field in options(sections(Config())[section]):
            name = f"--[no]{field.name}" if field.type is bool else f"--{flag_name(section, field)}"
            yield _row(name, *_describe({section: field}), width)


def _training_flags(width):
    """The unprefixed flags of the training sections and those that exist with a prefix only, by the sections that own them."""
    shared = shared_fields()
    grouped = {}
    for name, owners in shared.items():
        grouped.setdefault(tuple(owners), []).append((name, owners))
    for section in FITS:
        for field in options(sections(Config())[section]):
            if field.name not in shared:
                grouped.setdefault((section,), []).append((flag_name(section, field), {section: field}))
    for owning, entries in grouped.items():
        yield from ("", f"Flags of {', '.join(owning)}")
        for name, owners in entries:
            first, *others = _describe(owners)
            yield _row(f"--{name}", first, width)
            yield from (_row("", other, width) for other in others)


def help_text(width=100):
    """The text of `--help`, at most `width` columns where words allow; flags are grouped by the sections that own them."""
    rule = (
        "Without a prefix they set what the stage trains (--learning_rate), and in a pipeline every section that has them. With a"
        f" prefix they set one section (--finetune_learning_rate), and win. Prefixes: {', '.join(FITS)}. Defaults are in brackets."
    )
    values = build_flags()
    text = [
        "Usage: tf-simclr --stage=STAGE [flags]    SimCLRv2: pretrain, fine-tune, distill",
        "",
        "Stages, each with an example",
        *_stages(width),
        *_plain_flags(width),
        "",
        "Training flags",
        *textwrap.wrap(rule, width, initial_indent="  ", subsequent_indent="  "),
        *_training_flags(width),
        "",
        "Flags of the command line alone",
        *(_row(f"--{name}", values[name].help, width) for name in ("help", "version", "debug", "flagfile")),
    ]
    return "\n".join(text)
