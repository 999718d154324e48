"""What was found, in words, and the commands to run next."""

import shlex

import numpy as np

from tf_simclr import program
from tf_simclr.config import IN_MEMORY, DataConfig, ModelConfig, PretrainConfig
from tf_simclr.option import options
from tf_simclr.run_directory import among_images

_LABELS_PER_CLASS = 10
_CLASSES_SHOWN = 20
_CHOSEN = ("labels_per_class", "num_labels", "label_fraction", "label_seed", "image_size")
# Settings of small batches: LARS, the default, is for thousands.
_RULE = {"optimizer": "adamw", "learning_rate": 0.001, "lr_scaling": "none"}


def describe(summary, suggestion, config, directory, training, next_lines, obstacle):
    """The report as lines of text.

    Args:
      summary: what `summary.summarise` returns.
      suggestion: a `Suggestion`.
      config: the `Config`, data filled in.
      directory: where pictures and lists are.
      training: the `Source` that the next stages will train on.
      next_lines: what `commands` returns.
      obstacle: what fine-tuning will stop at, or "".
    """
    s, bad = summary, summary["bad"]
    share = bad["images"] / (s["images"] + s["evaluation_images"] + bad["images"])
    rows = [
        ("images", f"{s['images']:,} for training ({_labels_in_words(s)}), {s['evaluation_images'] or 'none'} for evaluation"),
        ("formats", _listed(s["formats"])),
        ("channels", _listed(s["channels"]) + (f"; alpha is laid on {config.model.background}" if "alpha" in str(s["channels"]) else "")),
        ("width", "{least:,} to {largest:,}, median {median:,} pixels".format(**s["width"])),
        ("height", "{least:,} to {largest:,}, median {median:,} pixels; {0:.0%} are square".format(s["square"], **s["height"])),
        ("bad files", f"{bad['images']:,} ({share:.2%}), listed in {directory}/quarantine.csv" if bad["images"] else "none"),
        *(("", f"{row['path']}: {row['reason']}") for row in bad["examples"]),
        *_classes(s),
        *_copies(s),
        *_budget(training),
        *_suggested(len(training), suggestion),
        ("pictures", f"{directory}/images.png, {directory}/views.png"),
    ]
    if bad["largest_share"] > config.data.max_bad_fraction:
        allowed = f"--max_bad_fraction={config.data.max_bad_fraction:.2%}"
        rows.append(("will not start", f"more than {allowed} of one set are bad: mend or remove them"))
    if s["overlap"] and not config.data.allow_overlap:
        rows.append(("will not start", "an image stands in two sets: remove it from one, or say --allow_overlap"))
    if obstacle:
        rows.append(("will not start", f"fine-tuning: {obstacle}"))
    lines = [f"{name:16}{words}" for name, words in rows]
    return [*lines, *(["", "Next:", *(f"  {line}" for line in next_lines)] if next_lines else [])]


def commands(training, suggestion, config, holdout):
    """The commands to run next, as shell lines; none where there are no two images, or where the command line cannot name them.

    Args:
      training: the `Source` that they will train on.
      suggestion: a `Suggestion` for it.
      config: the `Config`, data filled in.
      holdout: whether it is what a hold-out leaves.
    """
    if len(training) < 2 or config.data.dataset == IN_MEMORY:
        return []
    home = f"runs/{config.data.dataset.replace(':', '_').replace('/', '_')}"
    if config.run_dir and among_images(home, config.data):
        home = f"{config.run_dir}_runs"  # that directory is not among the images
    data = _given(config.data, DataConfig)
    model = _given(config.model, ModelConfig) | {"image_size": suggestion.image_size}
    chosen = {"batch_size": suggestion.batch_size, "epochs": suggestion.epochs, **_RULE} | _given(config.pretrain, PretrainConfig)
    if holdout:
        data |= {"eval_on": "holdout"}  # from the first stage on, so that no stage sees the images that are scored
    lines = [_line(stage="pretrain", **data, **model, **chosen, run_dir=f"{home}/pretrain")]
    if training.labels is not None:
        few = min(_LABELS_PER_CLASS, *_images_by_class(training).values())
        fine = {"batch_size": 64, "steps": 600, **_RULE, "run_dir": f"{home}/finetune"}
        if few:
            lines.append(_line(stage="finetune", **{"from": f"{home}/pretrain"}, labels_per_class=few, **fine))
    return lines


def _given(section, cls):
    """The settings of a section that are not the defaults, but for those that the commands choose themselves."""
    given = {(field.metadata["flag"] or field.name): (getattr(section, field.name), field.default) for field in options(cls)}
    # `auto` has been resolved by now, and the test split needs no flag.
    return {name: value for name, (value, default) in given.items() if value not in (default, "test") and name not in _CHOSEN}


def _line(**flags):
    return " ".join([program.name(), *(shlex.quote(f"--{name}={_text(value)}") for name, value in flags.items())])


def _text(value):
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _listed(counts):
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _labels_in_words(s):
    if not s["labelled"]:
        return "no labels"
    return f"{s['labelled']:,} with a label" if s["unlabelled"] else f"all with one of {len(s['classes'])} labels"


def _classes(s):
    for number, c in enumerate(s["classes"][:_CLASSES_SHOWN]):
        evaluation = f", {c['evaluation_images']:,} for evaluation" if s["evaluation_images"] else ""
        yield ("" if number else "classes", f"{c['name']}: {c['images']:,}{evaluation}")
    if len(s["classes"]) > _CLASSES_SHOWN:
        yield ("", f"and {len(s['classes']) - _CLASSES_SHOWN:,} more")


def _copies(s):
    copies = s["copies"]
    found = f"{copies['images']:,} training images are copies of another" if copies["images"] else "none among the training images"
    yield ("copies", found)
    for names in copies["examples"]:
        yield ("", " = ".join(names))
    for names in copies["conflicts"]:
        yield ("two labels", " = ".join(names))
    if s["evaluation_images"] or s["overlap"]:
        yield ("in two sets", f"{len(s['overlap']):,} images" if s["overlap"] else "none")
    for one, name, other, other_name in s["overlap"][:5]:
        yield ("", f"{name} ({one}) is {other_name} ({other})")


def _images_by_class(source):
    counts = np.bincount(source.labels[source.labels >= 0], minlength=len(source.class_names))
    return dict(zip(source.class_names, map(int, counts)))


def _budget(training):
    if training.labels is None:
        return
    counts = _images_by_class(training)
    least, most = min(counts, key=counts.get), max(counts, key=counts.get)
    if not counts[least]:
        yield ("label budget", f"none that is the same for every class: {least} has no image to train on")
        return
    yield ("label budget", f"up to --labels_per_class={counts[least]:,}, the images of {least}")
    if counts[most] > 1.5 * counts[least]:
        yield ("", f"{most} has {counts[most] / counts[least]:.1f} times as many: look at the balanced accuracy")


def _suggested(images, suggestion):
    per_epoch = images / suggestion.images_per_second
    stem = "" if suggestion.stem == "auto" else f" ({suggestion.stem} stem)"
    yield ("suggested", f"--image_size={suggestion.image_size}{stem}, --batch_size={suggestion.batch_size}")
    speed = f"{suggestion.images_per_second:,.0f} images/s were seen here"
    yield ("", f"{speed}: {per_epoch:,.0f} s an epoch, --epochs={suggestion.epochs} in an hour")
    if suggestion.memory is not None:
        needed = suggestion.bytes_per_image * suggestion.batch_size
        yield ("", f"a step takes about {needed / 1e9:.1f} GB of the {suggestion.memory / 1e9:.1f} GB that are free")
    if suggestion.epochs < 25:
        yield ("", "few for an hour; --depth=10 --width=0.5 is a network several times as fast")
