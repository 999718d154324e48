"""R15: data that a stage cannot use are refused before any training, on one line that says what to do. R12: names of files."""

import os
import re

import numpy as np
import pytest
import tiny
from data import images

from tf_simclr import cli

pytestmark = pytest.mark.usefixtures("short_resnet")


def write_classes(root, counts, seed=0):
    """A folder with a directory of so many images for every class; no two images are the same."""
    random = np.random.RandomState(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(images.encode(random.randint(0, 256, [16, 16, 3], np.uint8)))
    return root


@pytest.mark.fault("R15")
@pytest.mark.parametrize("dataset", ["", "folder", "idx", "tfrecord", "npz", "csv"])
def test_an_empty_root_is_refused(dataset, tmp_path, refused, outcome):
    root = tmp_path / "data"
    root.write_bytes(b"") if dataset in ("npz", "csv") else root.mkdir()
    said = refused(f"--dataset={dataset}", f"--data_dir={root}", f"--run_dir={tmp_path / 'run'}", *tiny.FLAGS)
    assert str(root) in said and re.search("; (check data_dir|write it again)$|; use dataset", said), said
    assert not (tmp_path / "run").exists()
    outcome("empty root: refused, with the place to look at")


CLASSES = {
    "empty class": ({"a": 3, "b": 0}, [], r"every class needs images, got none in \S+/b; add some or remove"),
    "class of one image, of which one is held out": (
        {"a": 3, "b": 1},
        ["--eval_on=holdout"],
        "at least 2 different images of every class, got 1 of class b; add images of it or leave it out",
    ),
    "class of one image, of which two are asked for": (
        {"a": 3, "b": 1},
        ["--labels_per_class=2", "--eval_data_dir=OTHER"],
        "2 labels of every class are asked for, got 1 images of class b; ask for fewer",
    ),
    "evaluation images of other classes": (
        {"a": 3, "c": 3},
        ["--eval_data_dir=OTHER"],
        r"2 classes \(a, c\), got 2 classes \(a, b\) in \S+; name the classes alike",
    ),
}


@pytest.mark.fault("R15")
@pytest.mark.parametrize("stage", ["finetune", "pipeline"])
@pytest.mark.parametrize("case", CLASSES)
def test_classes_that_cannot_be_used_are_refused(case, stage, tmp_path, refused, outcome):
    counts, given, words = CLASSES[case]
    root, other = write_classes(tmp_path / "data", counts), write_classes(tmp_path / "other", {"a": 1, "b": 1}, seed=1)
    given = [argument.replace("OTHER", str(other)) for argument in given] + ["--methods=finetune"]
    said = refused(f"--stage={stage}", f"--data_dir={root}", f"--run_dir={tmp_path / 'run'}", *given, *tiny.FLAGS)
    assert re.search(words, said), said
    assert not (tmp_path / "run").exists()
    outcome(f"{case}: refused")


OTHERS = {
    "fewer classes": ("left", "right"),
    "more classes": ("left", "right", "both", "none"),
    "another order": ("right", "left", "both"),
    "other names": ("links", "rechts", "beide"),
}


@pytest.mark.fault("R15")
@pytest.mark.parametrize("stage", ["evaluate", "distill"])
@pytest.mark.parametrize("others", OTHERS)
def test_classes_that_are_not_the_models_are_refused(others, stage, trained, tmp_path, refused, outcome):
    names = OTHERS[others]
    tiny.write_npz(tmp_path / "data.npz", tiny.images(24, 1)[0], np.arange(24) % len(names), names)
    training = tiny.FLAGS[4:] if stage == "distill" else ()
    given = [f"--from={trained}", f"--data_dir={tmp_path / 'data.npz'}", "--eval_on=holdout", f"--run_dir={tmp_path / 'run'}"]
    said = refused(f"--stage={stage}", *given, *training)
    got = rf"got {len(names)} classes \({', '.join(names)}\); give"
    assert re.search(rf"in the same order, 3 classes \(left, right, both\), {got}", said), said
    assert not (tmp_path / "run").exists()
    outcome(f"{others} than the model: refused by evaluation and distillation, naming both")


def test_a_message_about_very_many_classes_is_short(trained, tmp_path, refused):
    names = [f"{i} " + 100 * "x" for i in range(24)]
    tiny.write_npz(tmp_path / "data.npz", tiny.images(48, 1)[0], np.arange(48) % len(names), names)
    said = refused("--stage=evaluate", f"--from={trained}", f"--data_dir={tmp_path / 'data.npz'}", "--eval_on=holdout")
    assert "got 24 classes (0 xxx" in said and len(said) < 1000


@pytest.mark.fault("R12")
@pytest.mark.slow
def test_files_of_any_name_are_trained_on(tmp_path, outcome):
    """From the check to the line that uses the export: a name that no terminal can show must stop none of it."""
    for part, seed in (("train", 0), ("eval", 1)):
        root = write_classes(tmp_path / part, {"a": 2, "b": 2}, seed)
        os.rename(root / "a", root / "ä 猫")
        os.rename(root / "b", os.path.join(os.fsencode(root), b"\xe9t\xe9"))  # Latin-1
        for i, name in enumerate([b"\xff\xfe.png", "🐈 naïve.png".encode()]):  # in their sorted order
            os.rename(root / "ä 猫" / f"{i}.png", os.path.join(os.fsencode(root / "ä 猫"), name))
    given = [f"--data_dir={tmp_path / 'train'}", f"--eval_data_dir={tmp_path / 'eval'}", f"--run_dir={tmp_path / 'run'}"]
    assert cli.main(["--stage=pipeline", "--methods=supervised", *given, *tiny.FLAGS, "--batch_size=4"]) == 0
    assert not (tmp_path / "run" / "supervised_1" / "quarantine.csv").exists()
    assert (tmp_path / "run" / "report" / "sample.png").exists()
    report = (tmp_path / "run" / "supervised_1" / "report" / "evaluation.md").read_text(encoding="utf-8")
    assert "| ä 猫 | 2 |" in report and r"| \\xe9t\\xe9 | 2 |" in report
    outcome("names in Unicode and others: trained on, evaluated and exported")
