"""A named data set of TensorFlow Datasets: prepared on this machine, or downloaded and prepared now."""

import difflib

import numpy as np
from absl import logging

from tf_simclr.data.encoded import as_encoded
from tf_simclr.data.source import as_source
from tf_simclr.data.storage import Memory
from tf_simclr.errors import UsageError


def read(name, location, split, class_names=(), *, limits, check=True):
    """One split of a data set with an `image` and perhaps a `label`.

    Images of one declared size are decoded into memory, others stay encoded in memory. Examples are in the order of storage, or of
    their `id` where they have one: in CIFAR-10 that is the original batch order, which the label protocol starts from.

    Args:
      name: as for `tfds.builder`: NAME, NAME/CONFIG or NAME:VERSION.
      location: the TFDS data directory, which holds NAME/VERSION; empty for TFDS' own default.
      split: "train", "unlabelled" (the same), or "test" for the first labelled one of test and validation.
      class_names: ignored; the names are those of the data set.
      limits: a `DataConfig`: max_pixels, max_bytes, max_bad_fraction of images that stay encoded.
      check: see `encoded.as_encoded`.

    Returns:
      A `Source`, or None where there is no labelled test split.

    Raises:
      UsageError: an unknown name, a data set that cannot be prepared, or one without images that we can read.
    """
    builder = _builder(name, location)
    features, splits = builder.info.features, builder.info.splits
    if "image" not in features or features["image"].np_dtype != np.uint8:
        raise UsageError(f"tfds:{name} needs a feature image of uint8, got {', '.join(features)}; choose a set of single images")
    if split == "test":
        labelled = [part for part in ("test", "validation") if part in splits and _is_labelled(builder, part)]
        return _read_split(builder, labelled[0], f"tfds:{name}", limits, check) if labelled else None
    if "train" not in splits:
        raise UsageError(f"tfds:{name} needs a split train, got {', '.join(splits)}; choose another data set")
    return _read_split(builder, "train", f"tfds:{name}", limits, check)


def _builder(name, location):
    """A builder whose data are on disk."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import read_only_builder

    where = location or None
    try:
        # Files first: a builder made from code asks the network about a data set that it does not find, for many seconds.
        return read_only_builder.builder_from_files(name, data_dir=where)
    except tfds.core.DatasetNotFoundError:
        pass
    try:
        logging.info("tfds:%s is not prepared in %s; downloading and preparing it", name, location or "the default directory")
        builder = tfds.builder(name, data_dir=where)
        builder.download_and_prepare()
        return builder
    except tfds.core.DatasetNotFoundError as error:
        near = difflib.get_close_matches(name, tfds.list_builders(), n=1)
        hint = f"did you mean tfds:{near[0]}?" if near else "check the name"
        raise UsageError(f"tfds:NAME needs a prepared data set in data_dir or a name that TFDS knows, got {name!r}; {hint}") from error
    except Exception as error:  # downloads fail in as many ways as there are data sets
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"tfds:{name} needs to be prepared in {location or 'the default directory'}, which failed ({type(error).__name__}: {reason});"
            f" prepare it where there is a network, by tfds build {name}, and give its directory as data_dir"
        ) from error


def _examples(builder, split, decoders=None):
    """Image, label and id, as far as there are such, of the examples of a split, in the same order every time: a list of dicts."""
    import tensorflow_datasets as tfds

    wanted = {key: True for key in ("image", "label", "id") if key in builder.info.features}
    dataset = builder.as_dataset(
        split=split,
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1),  # one file after the other
        decoders=tfds.decode.PartialDecoding(wanted, decoders=decoders),
    )
    return sorted(dataset.as_numpy_iterator(), key=lambda example: example.get("id", 0))


def _is_labelled(builder, split):
    """Whether a split has labels; TFDS stores -1 for hidden ones."""
    return "label" in builder.info.features and _examples(builder, f"{split}[:1]")[0]["label"] >= 0


def _read_split(builder, split, what, limits, check):
    import tensorflow_datasets as tfds

    features = builder.info.features
    names = tuple(getattr(features["label"], "names", ())) if "label" in features else ()
    one_size = None not in features["image"].shape
    examples = _examples(builder, split, None if one_size else {"image": tfds.decode.SkipDecoding()})
    labels = np.array([example["label"] for example in examples]) if "label" in features else None
    images = [example["image"] for example in examples]
    if one_size:
        return as_source(np.stack(images), labels, names, what=what)
    return as_encoded(np.array(images, object), labels, names, Memory(), limits=limits, what=what, check=check)
