"""From settings to data: which source is meant, and which of its images are for evaluation."""

import dataclasses
import difflib
import functools
import importlib
import itertools
import os
import unicodedata

from tf_simclr.config import IN_MEMORY, NO_IMAGES
from tf_simclr.data.holdout import hold_out
from tf_simclr.data.overlap import check_overlap
from tf_simclr.data.source import Data, join
from tf_simclr.errors import UsageError

# Each module has `read(location, split, class_names=()) -> Source`, or None where there is no such split; split is train, test or
# unlabelled. Those of encoded images also take `limits`.
_READERS = {
    "fashion_mnist_8k": "tf_simclr.data.fashion_mnist",
    "idx": "tf_simclr.data.idx",
    "npz": "tf_simclr.data.npz",
    "folder": "tf_simclr.data.folder",
    "csv": "tf_simclr.data.table",
    "tfrecord": "tf_simclr.data.tfrecord",
}
_ENCODED = ("folder", "csv", "tfrecord")
_FILES = {"npz": "file", "csv": "file"}  # what data_dir is, where it is no directory
_DEFAULT = "fashion_mnist_8k"
_TFDS = "tfds:"


def load_data(config):
    """Reads the data that the settings name.

    The training split is what `data_dir` holds, and after it the images of `unlabeled_dir`, without labels. The evaluation split is, by
    this precedence: (1) what `eval_data_dir` holds; (2) with `eval_on=holdout`, a stratified hold-out of the training split, which is
    then left without it; (3) the data set's own test split; (4) none.

    No image may stand in two of the labelled, unlabelled and evaluation sets, unless `allow_overlap`. Where a published data set (IDX,
    TFDS, bundled) repeats images of its own training split in its own test split, they are only named.

    Args:
      config: a `DataConfig`. Of it all but the label settings are used here; the label
        subset is drawn later, by `draw_labels`.

    Returns:
      `Data`. The evaluation split has labels. Where the training split has labels too, classes are the same in the same order.

    Raises:
      UsageError: an unknown name, data that are missing or damaged, or splits that do not fit together.
    """
    data = dataclasses.replace(_read(config), named=config)
    published = not config.eval_data_dir and not config.unlabeled_dir and name_of(config) not in (*_ENCODED, "npz")
    check_overlap(data, config.allow_overlap or published)
    return data


def load_images(config):
    """Reads all images that the settings name, whatever split they are of, without a look at any: bad ones are among them.

    Of published data sets (IDX, TFDS, bundled) the test images come after the training images; other sources are in their own order,
    folders, which may also be one file or a pattern, in that of `folder.read_all`, without labels.

    Args:
      config: a `DataConfig`.

    Returns:
      A `Source`.

    Raises:
      UsageError: an unknown name, or data that are missing or damaged as a whole.
    """
    name = name_of(config)
    if name == "folder":
        return importlib.import_module(_READERS[name]).read_all(config.data_dir)
    read = _reader(config, check=False)
    if name in (*_ENCODED, "npz"):
        return read(config.data_dir, "all")
    train, test = (read(config.data_dir, split) for split in ("train", "test"))
    if train is None or test is None:
        return test if train is None else train
    return join(train, test, name)


def name_of(config):
    """The data set's name: as given, else guessed from what `data_dir` is, else the bundled one."""
    return config.dataset or (guess(config.data_dir) if config.data_dir else _DEFAULT)


def guess(location):
    """The kind of data set that a path seems to be: by the file's suffix, or by the files in the directory."""
    suffix = os.path.splitext(location)[1].lower()
    if suffix in (".csv", ".tsv", ".npz"):
        return "npz" if suffix == ".npz" else "csv"
    is_directory = os.path.isdir(location)
    if "://" in location or ("tfrecord" in os.path.basename(location) and not is_directory):
        return "tfrecord"
    try:
        names = [entry.name for entry in itertools.islice(os.scandir(location), 1000)] if is_directory else []
    except OSError as error:
        raise UsageError(f"data_dir must be a directory to read, got {location} ({error.strerror}); give another one") from error
    if any(".tfrecord" in name for name in names):
        return "tfrecord"
    return "idx" if any("-ubyte" in name for name in names) else "folder"


def _read(config):
    read = _reader(config)
    if config.eval_data_dir and config.eval_on == "holdout":
        raise UsageError("evaluation data must come from eval_data_dir or from eval_on=holdout, got both; drop one")
    train = read(config.data_dir, "train")
    if train is None:
        raise UsageError(
            f"dataset {config.dataset} needs training images, got a test split alone in {config.data_dir}; use it as eval_data_dir"
        )
    if config.unlabeled_dir:
        more = read(config.unlabeled_dir, "unlabelled")
        if more is None:
            raise UsageError(f"unlabeled_dir must hold training images, got a test split alone in {config.unlabeled_dir}; give another one")
        train = join(train, more.without_labels(), config.unlabeled_dir)
    if config.eval_on == "holdout":
        return hold_out(train, config.holdout_fraction)
    if not config.eval_data_dir:
        test = read(config.data_dir, "test", train.class_names)
        if test is None or test.labels is None:
            return Data(train)
        check_evaluation(train, test, config.data_dir)
        return Data(train, test)
    evaluation = read(config.eval_data_dir, "test", train.class_names)
    if evaluation is None:
        evaluation = read(config.eval_data_dir, "train", train.class_names)
    check_evaluation(train, evaluation, config.eval_data_dir)
    return Data(train, evaluation)


def _reader(config, **choices):
    """The `read` function of the data set's source, once its name and its directories are plausible; `choices` are for encoded images."""
    name = name_of(config)
    if name == IN_MEMORY:
        raise UsageError("images must be given in Python again, as they were to the earlier run, got none; or name others, --dataset")
    if name == NO_IMAGES:
        raise UsageError("imported weights come without images, which have to be named, --data_dir or --dataset, got none; name some")
    named = name.startswith(_TFDS) and name != _TFDS
    if not named and name not in _READERS:
        near = difflib.get_close_matches(name, _READERS, n=1)
        hint = f"did you mean {near[0]}?" if near else "a data set of TensorFlow Datasets is written tfds:NAME"
        raise UsageError(f"dataset must be one of {', '.join(_READERS)} or tfds:NAME, got {name!r}; {hint}")
    bundled = name == _DEFAULT
    for setting in ("data_dir", "unlabeled_dir", "eval_data_dir"):
        value = getattr(config, setting)
        if bundled and value:
            raise UsageError(f"dataset {name} is bundled and takes no {setting}, got {value}; drop it, or say dataset=idx, npz or folder")
        elsewhere = name == "tfrecord" or (named and "://" in value)
        if value and not elsewhere and not os.path.exists(os.path.expanduser(value) if named else value):  # as TFDS expands it
            raise UsageError(f"{setting} must be an existing path, got {value}; check the spelling")
        kind = _FILES.get(name, "directory")
        if value and not named and name != "tfrecord" and os.path.isdir(value) != (kind == "directory"):
            other = "file" if kind == "directory" else "directory"
            raise UsageError(
                f"{setting} must be a {kind} with dataset={name}, got the {other} {value}; give a {kind}, or all data of another kind"
            )
    if named:
        from tf_simclr.data import tfds_source

        return functools.partial(tfds_source.read, name[len(_TFDS) :], limits=config, **choices)
    if not bundled and not config.data_dir:
        raise UsageError(f"dataset {name} needs data_dir, got none; give the {_FILES.get(name, 'directory')} that holds the images")
    read = importlib.import_module(_READERS[name]).read
    return functools.partial(read, limits=config, **choices) if name in _ENCODED else read


def check_evaluation(train, evaluation, where):
    """Raises UsageError where evaluation images lack labels, or their classes are not those of the training images, if these have any."""
    if evaluation.labels is None:
        raise UsageError(f"evaluation data must have labels, got images without labels in {where}; give labelled ones as eval_data_dir")
    if without := int(sum(evaluation.labels < 0)):
        raise UsageError(f"evaluation data must have labels, got {without:,} images without one in {where}; give them one, or drop them")
    if train.labels is not None and evaluation.class_names != train.class_names:
        forms = [[unicodedata.normalize("NFC", name) for name in names] for names in (train.class_names, evaluation.class_names)]
        hint = " (they look alike, but their characters are composed otherwise, as by another operating system)" * (forms[0] == forms[1])
        raise UsageError(
            f"evaluation data must have the training data's classes in the same order, {brief(train.class_names)},"
            f" got {brief(evaluation.class_names)} in {where}{hint}; name the classes alike in both, or let one directory hold both splits"
        )


def brief(names, most=12, longest=40):
    """Class names for a message: many are cut short, and so is a long one."""
    shown = ", ".join(name if len(name) <= longest else f"{name[: longest - 1]}…" for name in names[:most])
    return f"{len(names)} classes ({shown}{', …' if len(names) > most else ''})"
