"""A folder of image files, read from real ones."""

import os

import numpy as np
import pytest
from data.sources import IMAGES, load, refuse, relative, save

from tf_simclr.config import DataConfig, ModelConfig, PretrainConfig
from tf_simclr.data import load_data
from tf_simclr.data.pipeline import training_batches
from tf_simclr.data.storage import Files


def test_a_folder_of_class_folders(tmp_path):
    for name in ("dog/2.png", "dog/1.jpg", "cat/deep/3.PNG", "cat/1.gif", "ant/4.bmp"):
        save(tmp_path / name)
    for name in (".hidden/1.png", "cat/.2.png"):
        save(tmp_path / name)
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    data = load("folder", data_dir=tmp_path)
    assert relative(data.train, tmp_path) == ["ant/4.bmp", "cat/1.gif", "cat/deep/3.PNG", "dog/1.jpg", "dog/2.png"]
    assert data.train.class_names == ("ant", "cat", "dog")
    np.testing.assert_array_equal(data.train.labels, [0, 1, 1, 2, 2])
    assert data.train.labels.dtype == np.int64 and data.train.storage == Files() and data.evaluation is None
    assert (data.train.channels, data.train.size) == (3, 5)
    assert len(data.train.fingerprint()) == 64


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "2.png"],
        ["1.png", "a/2.png", "b/3.png"],
        ["a/x/1.png", "a/y/2.png", "b/x/3.png"],
        ["images/1.png", "images/2.png"],
    ],
    ids=["flat", "images beside folders", "nested deeper", "a single folder"],
)
def test_folders_without_class_structure_have_no_labels(tmp_path, names):
    for name in names:
        save(tmp_path / name)
    train = load("folder", data_dir=tmp_path).train
    assert relative(train, tmp_path) == names and train.labels is None and train.class_names == ()


def test_a_folder_of_grey_images_is_grey_and_large_ones_get_the_usual_input(tmp_path):
    for number in range(3):
        save(tmp_path / f"{number}.png", np.zeros([300, 400], np.uint8))
    train = load("folder", data_dir=tmp_path).train
    assert (train.channels, train.size) == (1, 224)


def test_folders_that_are_mistakes_are_refused(tmp_path):
    refuse("needs images .* got none", load, "folder", data_dir=tmp_path)
    save(tmp_path / "a/1.png")
    (tmp_path / "b").mkdir()
    refuse("every class needs images, got none in .*b;", load, "folder", data_dir=tmp_path)
    refuse("data_dir must be a directory with dataset=folder, got the file .*1.png", load, "folder", data_dir=tmp_path / "a/1.png")
    (tmp_path / "b" / "broken.png").write_bytes(b"not an image")
    refuse("bad, got 1 of 2 in .*broken.png: not an image that is read here", load, "folder", data_dir=tmp_path)


@pytest.mark.parametrize("train, test", [("train", "val"), ("Train", "Test")])
def test_a_folder_of_splits_is_explained(tmp_path, train, test):
    for name in (f"{train}/a/1.png", f"{train}/b/1.png", f"{test}/a/1.png", f"{test}/b/1.png"):
        save(tmp_path / name)
    refuse(f"use data_dir=.*{train} and eval_data_dir=.*{test}", load, "folder", data_dir=tmp_path)
    data = load("folder", data_dir=tmp_path / train, eval_data_dir=tmp_path / test)
    assert data.evaluation.class_names == ("a", "b") and len(data.evaluation) == 2


def test_evaluation_folders_must_have_the_training_classes(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "other/a/1.png", "other/c/1.png", "flat/1.png"):
        save(tmp_path / name)
    refuse("2 classes \\(a, b\\), got 2 classes \\(a, c\\)", load, "folder", data_dir=tmp_path / "train", eval_data_dir=tmp_path / "other")
    refuse("must have labels, got images without", load, "folder", data_dir=tmp_path / "train", eval_data_dir=tmp_path / "flat")
    for name in ("one/a/1.png", "one/\u00e9/1.png", "two/a/1.png", "two/e\u0301/1.png"):  # the same name as other systems write it
        save(tmp_path / name)
    refuse("\\(they look alike, but their characters", load, "folder", data_dir=tmp_path / "one", eval_data_dir=tmp_path / "two")
    data = load("folder", data_dir=tmp_path / "flat", eval_data_dir=tmp_path / "train")
    assert data.train.labels is None and data.evaluation.class_names == ("a", "b")


@pytest.mark.usefixtures("headers_only")
def test_links_are_followed_and_loops_counted_once(tmp_path):
    for name in ("in/a/1.png", "in/b/2.png", "elsewhere/deep/3.png", "elsewhere/4.png"):
        save(tmp_path / name)
    for link, target in (
        ("a/directory", tmp_path / "elsewhere"),
        ("a/file.png", tmp_path / "elsewhere/4.png"),
        ("a/itself", "."),
        ("a/root", ".."),
        ("a/sister", "../b"),
        ("b/root", tmp_path / "in"),
    ):
        (tmp_path / "in" / link).symlink_to(target)
    train = load("folder", data_dir=tmp_path / "in").train
    assert relative(train, tmp_path / "in") == ["a/1.png", "a/directory/4.png", "a/directory/deep/3.png", "a/file.png", "b/2.png"]
    assert train.labels.tolist() == [0, 0, 0, 0, 1]
    flat = load("folder", data_dir=tmp_path / "in/b").train  # by its link to the root it holds all
    assert len(flat) == 5 and flat.labels is None


@pytest.mark.usefixtures("headers_only")
def test_a_link_may_be_a_class_and_a_dead_one_is_a_bad_image(tmp_path):
    for name in ("in/cat/1.png", "in/cat/2.png", "elsewhere/3.png"):
        save(tmp_path / name)
    (tmp_path / "in" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "tabby").symlink_to("cat")  # two names of one directory are two classes, as the user has it
    (tmp_path / "in" / "cat" / "gone.png").symlink_to("nowhere.png")
    data = load_data(DataConfig(dataset="folder", data_dir=str(tmp_path / "in"), max_bad_fraction=0.5))
    assert relative(data.train, tmp_path / "in") == ["cat/1.png", "cat/2.png", "dog/3.png", "tabby/1.png", "tabby/2.png"]
    assert data.train.class_names == ("cat", "dog", "tabby")
    gone = [str(tmp_path / "in" / name / "gone.png") for name in ("cat", "tabby")]
    assert data.bad == tuple((path, "cannot be read: No such file or directory") for path in gone)


@pytest.mark.usefixtures("headers_only")
def test_what_systems_leave_in_folders_is_skipped(tmp_path):
    save(tmp_path / "a/1.png")
    save(tmp_path / "b/2.png")
    (tmp_path / ".c").mkdir()
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "a/Thumbs.db", "a/desktop.ini", "a/._1.png", "b/.3.jpg", "b/2.png~", ".c/4.png"):
        (tmp_path / name).write_bytes(b"no image")
    data = load("folder", data_dir=tmp_path)
    assert relative(data.train, tmp_path) == ["a/1.png", "b/2.png"] and data.train.class_names == ("a", "b") and data.bad == ()


def test_a_directory_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    for name in ("a/1.png", "a/deep/2.png", "b/3.png"):
        save(tmp_path / name)
    scandir = os.scandir

    def closed(path):
        """What permissions do; to root, who may be running this, they do nothing."""
        if os.path.basename(path) == "deep":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    refuse("directories that can be read, got .*a/deep \\(Permission denied\\); change its permissions", load, "folder", data_dir=tmp_path)


def test_thousands_of_files_in_one_folder(tmp_path):
    save(tmp_path / "0000.png")
    for number in range(1, 2000):
        os.link(tmp_path / "0000.png", tmp_path / f"{number:04d}.png")
    train = load("folder", data_dir=tmp_path).train
    assert relative(train, tmp_path) == [f"{number:04d}.png" for number in range(2000)]


def test_names_that_are_not_utf8_are_trained_on(tmp_path):
    (tmp_path / "in").mkdir()
    root = os.fsencode(tmp_path / "in")
    for number, name in enumerate((b"%s.png", b"\xe4.png", b"\xff.png")):
        save(tmp_path / f"{number}.png", IMAGES[number])
        os.rename(tmp_path / f"{number}.png", os.path.join(root, name))
    train = load("folder", data_dir=tmp_path / "in").train
    assert [train.name(i) for i in range(3)] == [f"{tmp_path}/in/{name}.png" for name in ("%s", "\\xe4", "\\xff")]
    plain = PretrainConfig(crop_min_area=1.0, flip=0.0, jitter=0.0, grey=0.0, blur=0.0)
    spec = ModelConfig(image_size=32, channels=3)
    (batch,) = training_batches(train, spec=spec, policy=plain, seed=1, batch_size=3, start=0, stop=1)
    for example, view in zip(batch["example"].numpy(), batch["views"][0].numpy()):
        np.testing.assert_allclose(view.mean(axis=(0, 1)), IMAGES[example].mean(axis=(0, 1)) / 255, atol=0.03)
