"""A CSV file of image paths and labels."""

import csv
import os

import numpy as np
from absl import logging

from tf_simclr.data.encoded import as_encoded
from tf_simclr.data.storage import Files
from tf_simclr.errors import UsageError

PATHS = ("path", "file", "filename", "file_name", "image")
LABELS = ("label", "class", "class_name", "category")
SPLITS = ("split", "subset")
_TESTS = ("test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")
_KNOWN = ("", "train", "training", "unlabelled", "unlabeled", "extra", *_TESTS)
_SET = "set"  # a column of splits where it holds nothing else


def read(location, split, class_names=(), *, limits, check=True):
    """One split of a table with a path and a label in every row; images stay on disk and are decoded when they are used.

    The delimiter is the comma, semicolon or tab that the first line holds. A first line that names its columns (path, file, filename
    or image; label, class or category; split or subset, or
    set with nothing else in it; in any order, beside others) is a header; without one the first column is
    the path and the second, where there is one, the label. Paths are relative to the table. An image without a label has an empty
    one; it is used as an unlabelled image. Of the split column, test (or testing) comes before val (valid, validation, dev, eval,
    evaluation), and one with labels before one without; rows for training have train, training, unlabelled, unlabeled, extra or
    nothing there. A path where no image is counts as a bad image.

    Args:
      location: path of the file, UTF-8.
      split: "train", "unlabelled" (the same), "test", or "all" for the rows of every split.
      class_names: the classes in order, of which a test split may lack some; empty makes them of the labels that occur, sorted: as
        numbers where all are whole numbers, else as text.
      limits: a `DataConfig`: max_pixels, max_bytes, max_bad_fraction.
      check: see `encoded.as_encoded`.

    Returns:
      A `Source`, or None for "test" where no row is of that split.

    Raises:
      UsageError: not such a file, a row with too few columns, or more than two without a header, an unknown split, a path twice, or no
        image.
    """
    rows = _rows(location, split)
    tests = [name for name in _TESTS if any(row[2] == name for row in rows)]
    if split == "test":
        labelled = [name for name in tests if any(row[2] == name and row[1] for row in rows)]
        rows = [row for row in rows if row[2] in (labelled or tests)[:1]]
        if not rows:
            return None
    elif split != "all":
        rows = [row for row in rows if row[2] not in _TESTS]
    if not rows:
        raise UsageError(f"dataset csv needs at least one row of split {split} in {location}, got none; check data_dir")
    names = class_names_of({label for _, label, _ in rows if label}, class_names)
    number = {name: i for i, name in enumerate(names)}
    folder = os.path.dirname(location)
    paths = np.array([os.path.join(folder, path) for path, _, _ in rows], object)
    labels = np.array([number.get(label, -1) for _, label, _ in rows]) if names else None
    return as_encoded(paths, labels, names, Files(), limits, location, check)


def class_names_of(labels, known):
    """Class names in order: the known ones where all labels are among them, else the labels, sorted: numbers by value, or as text."""
    if labels <= set(known):
        return tuple(known)
    whole = all(label.removeprefix("-").isdecimal() and len(label) < 20 for label in labels)
    return tuple(sorted(sorted(labels), key=int if whole else str))  # twice, since 1 and 01 have one value


def _rows(location, split):
    """[(path, label or "", split or "")] of every split, of which a reading of all alone wants none to mean anything."""
    try:
        with open(location, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            if "\0" in first:  # such text is UTF-8 as well
                raise csv.Error("it has NUL characters, as UTF-16 has")
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            table = [
                (number, [cell.strip() for cell in row])
                for number, row in enumerate(csv.reader(file, delimiter=delimiter), 1)
                if any(map(str.strip, row))
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"dataset csv needs a text file in UTF-8 that can be read, got {location} ({error}); check data_dir") from error
    header = [cell.lower() for cell in table[0][1]] if table else []
    place = {kind: next((i for i, cell in enumerate(header) if cell in names), None) for kind, names in _COLUMNS.items()}
    if place["path"] is None:
        _refuse_unknown_header(location, table[0][1] if table else [])
        if split != "all" and any(cell for _, row in table for cell in row[2:]):
            raise UsageError(
                f"a table of more than two columns must name them in its first line, {PATHS[0]},{LABELS[0]},{SPLITS[0]} for example, got"
                f" {', '.join(table[0][1])[:100]} in {location}; add that line"
            )
        place = {"path": 0, "label": 1 if len(header) > 1 else None, "split": None}
    else:
        del table[0]
        if place["split"] is None and _SET in header:
            column = header.index(_SET)
            if all("".join(row[column : column + 1]).lower() in _KNOWN for _, row in table):  # a row may be too short, which is said below
                place["split"] = column
        others = ", ".join(cell for cell in header if cell not in (*PATHS, *SPLITS, _SET))
        if split == "train" and others and place["label"] is None:
            logging.warning("no column of labels (%s) in %s, but %s: images have none", ", ".join(LABELS), location, others[:100])
    needed = 1 + max(column for column in place.values() if column is not None)
    rows, seen = [], {}
    for number, row in table:
        if len(row) < needed:
            raise UsageError(f"every row of {location} must have {needed} columns, got {len(row)} in line {number}; complete it")
        path, label, part = ("" if place[kind] is None else row[place[kind]] for kind in _COLUMNS)
        if seen.setdefault(path, number) != number:
            raise UsageError(f"every path must stand once in {location}, got {path} in lines {seen[path]} and {number}; drop one")
        if split != "all" and part.lower() not in _KNOWN:
            raise UsageError(
                f"the split of a row must be empty or one of {', '.join(filter(None, _KNOWN))}, got {part[:60]!r} in line {number} of"
                f" {location}; rename it"
            )
        rows.append((path, label, part.lower()))
    return rows


def _refuse_unknown_header(location, first):
    """Raises UsageError where a first line that does not name the paths' column seems to name columns all the same."""
    named = any(cell.lower() in (*LABELS, *SPLITS) for cell in first) or (first and not os.path.splitext(first[0])[1])
    if named and not os.path.isfile(os.path.join(os.path.dirname(location), first[0])):
        raise UsageError(
            f"the first line of {location} must be a row, or name its columns, of which that of the paths is one of {', '.join(PATHS)}, got"
            f" {', '.join(first)[:100]}; rename that column"
        )


_COLUMNS = {"path": PATHS, "label": LABELS, "split": SPLITS}
