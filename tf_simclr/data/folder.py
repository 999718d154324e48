"""A directory of image files, with a sub-directory for every class or without labels."""

import glob
import os

import numpy as np

from tf_simclr.data.encoded import as_encoded
from tf_simclr.data.storage import Files, printable
from tf_simclr.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_TESTS = ("test", "val", "valid", "validation")


def read(location, split, class_names=(), *, limits):
    """The images of a directory; files stay on disk and are decoded when they are used.

    What the directory means:
      1. Two or more sub-directories and no image beside them, and an image directly in at least one of them: every sub-directory is
         a class, named by it (what is not UTF-8 is spelt \\xNN), of all images below it; classes are sorted by name.
      2. Otherwise all images at any depth, without labels. So a single sub-directory is not a class.
    Names that begin with a dot and files without an image's suffix are skipped. Links are followed; a directory that is reached twice,
    as by a link to its parent, counts once, and a class is never part of another one. Images are in the order of their sorted paths.

    Args:
      location: path of the directory.
      split: "train", or "unlabelled" for rule 2 whatever the directory looks like; there is no test split, a second directory serves
        as one.
      class_names: ignored; the names are those of the sub-directories.
      limits: a `DataConfig`: max_pixels, max_bytes, max_bad_fraction.

    Returns:
      A `Source`, or None for "test".

    Raises:
      UsageError: no images, a class without images, sub-directories that are splits and not classes, or one that cannot be read.
    """
    if split == "test":
        return None
    names, files = _classes(location) if split == "train" else ((), [_images_below(location)])
    paths = np.array([path for part in files for path in part], object)
    if not len(paths):
        raise UsageError(f"dataset folder needs images ({', '.join(SUFFIXES)}) in {location}, got none; check data_dir")
    labels = np.repeat(np.arange(len(names)), [len(part) for part in files]) if names else None
    return as_encoded(paths, labels, names, Files(), limits, location)


def read_all(location):
    """Image files for which nothing matters but what is in them; no label, and none is looked at.

    Args:
      location: a directory, of which all images at any depth are taken as `read` finds them; one file; or a pattern such as
        `photos/2024-*/*.jpg` (`**` for any depth), of which all files are taken.

    Returns:
      A `Source` in the order of the sorted paths, as `encoded.as_encoded` makes them without a check.

    Raises:
      UsageError: no image, or a directory that cannot be read.
    """
    if os.path.isdir(location):
        paths = _images_below(location)
    else:  # a name that is there is no pattern, whatever brackets it has
        paths = [location] if os.path.exists(location) else sorted(filter(os.path.isfile, glob.iglob(_pattern(location), recursive=True)))
    if not paths:
        raise UsageError(
            f"data_dir must be a directory with images ({', '.join(SUFFIXES)}), a file or a pattern of files, got {printable(location)!r},"
            " where none is; check the spelling"
        )
    return as_encoded(np.array(paths, object), None, (), Files(), None, location, check=False)


def _pattern(location):
    """The pattern, with brackets in the names of directories that are there taken as they are."""
    there, rest = os.path.split(location)
    while there and not os.path.isdir(there):
        there, last = os.path.split(there)
        rest = os.path.join(last, rest)
    return os.path.join(glob.escape(there), rest) if there else rest


def _classes(location):
    """Class names and the image paths of each; no name and one list of paths where there are no classes."""
    try:
        entries = sorted((e for e in os.scandir(location) if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        _refuse(error)
    directories = [entry.name for entry in entries if entry.is_dir()]
    tests = [name for name in directories if name.lower() in _TESTS]
    trains = [name for name in directories if name.lower() == "train"]
    if trains and tests:
        raise UsageError(
            f"dataset folder needs one split, got {location} with {trains[0]} and {tests[0]}; use"
            f" data_dir={os.path.join(location, trains[0])} and eval_data_dir={os.path.join(location, tests[0])}"
        )
    apart = {_place(path) for path in (location, *(os.path.join(location, name) for name in directories))}
    files = [_images_below(os.path.join(location, name), apart) for name in directories]
    beside = any(entry.is_file() and _is_image(entry.name) for entry in entries)
    direct = any(os.path.dirname(path) == os.path.join(location, name) for name, part in zip(directories, files) for path in part)
    if beside or not direct or len(directories) < 2:
        return (), [_images_below(location)]
    for name, part in zip(directories, files):
        if not part:
            raise UsageError(f"every class needs images, got none in {os.path.join(location, name)}; add some or remove the directory")
    return tuple(map(printable, directories)), files


def _images_below(directory, apart=()):
    """Sorted paths of all images at any depth, but for those in directories at the places `apart`, which links may lead to.

    Directories that are links are followed, as data sets are often made of links.
    """
    found, seen = [], set(apart)
    for parent, children, names in os.walk(directory, followlinks=True, onerror=_refuse):
        place = _place(parent)
        if place in seen and parent != directory:
            children.clear()
            continue
        seen.add(place)
        children[:] = sorted(name for name in children if not name.startswith("."))
        found += [os.path.join(parent, name) for name in names if _is_image(name)]
    return sorted(found)


def _place(directory):
    """What is the same for all paths of a directory."""
    status = os.stat(directory)
    return status.st_dev, status.st_ino


def _refuse(error):
    raise UsageError(
        f"dataset folder needs directories that can be read, got {error.filename} ({error.strerror}); change its permissions or move it"
    ) from error


def _is_image(name):
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)
