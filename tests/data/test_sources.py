"""Every source, read from real files that the tests write."""

import hashlib
import importlib.util
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from data.sources import IMAGES, LABELS, OTHERS, idx_bytes, load, refuse, relative, save, train_two_steps, write_idx_directory

from tf_simclr.config import DataConfig
from tf_simclr.data import decode, fashion_mnist, from_arrays, from_dataset, load_data
from tf_simclr.data.load import guess, load_images
from tf_simclr.errors import UsageError

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "make_fashion_mnist_8k.py"


def test_importing_the_package_loads_no_tensorflow():
    code = "import sys, tf_simclr.data; print('tensorflow' in sys.modules, 'tensorflow_datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False False\n"


# The bundled data.


def test_the_bundled_data_are_balanced_small_and_licensed():
    data = load("fashion_mnist_8k")
    assert data.train.images.shape == (8000, 28, 28, 1) and data.evaluation.images.shape == (2000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.train.labels), [800] * 10)
    np.testing.assert_array_equal(np.bincount(data.evaluation.labels), [200] * 10)
    assert data.train.class_names == data.evaluation.class_names and data.train.class_names[9] == "Ankle boot"
    assert (data.train.size, data.train.channels) == (28, 1)
    assert fashion_mnist.FILE.stat().st_size <= 5e6
    assert "2017 Zalando SE" in fashion_mnist.FILE.with_name("LICENSE-fashion-mnist.txt").read_text()
    # Trousers have a bright middle and dark sides: labels belong to their images.
    trousers = data.train.images[data.train.labels == 1].mean(axis=(0, 3))
    assert trousers[:, 11:17].mean() > 4 * trousers[:, :6].mean()


def test_no_name_means_the_bundled_data():
    assert len(load("").train) == 8000


def test_a_hold_out_replaces_the_test_split():
    data = load_data(DataConfig(dataset="fashion_mnist_8k", eval_on="holdout", holdout_fraction=0.125))
    np.testing.assert_array_equal(np.bincount(data.evaluation.labels), [100] * 10)
    assert len(data.train) == 7000


def test_the_bundled_file_can_be_made_again_to_the_byte(tmp_path, monkeypatch):
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS)
    spec = importlib.util.spec_from_file_location(TOOL.stem, TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.PER_CLASS = {"train": 3, "test": 2}
    digests = []
    for name in ("a.npz", "b.npz"):
        monkeypatch.setattr(sys, "argv", ["make", f"--source={tmp_path}", f"--target={tmp_path / name}"])
        tool.main()
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).digest())
    assert digests[0] == digests[1]
    with np.load(tmp_path / "a.npz") as made:
        np.testing.assert_array_equal(made["train_labels"], np.arange(9) % 3)
        np.testing.assert_array_equal(made["train_images"], IMAGES[:9, ..., 0])
        np.testing.assert_array_equal(made["test_images"], IMAGES[:6, ..., 0])


# IDX.


@pytest.mark.parametrize("compress", [True, False])
def test_idx_reads_both_splits(tmp_path, compress):
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS, ["train"], compress)
    write_idx_directory(tmp_path, IMAGES[:4, ..., 1], LABELS[:4], ["t10k"], compress)
    data = load("idx", data_dir=tmp_path)
    np.testing.assert_array_equal(data.train.images, IMAGES[..., :1])
    np.testing.assert_array_equal(data.train.labels, LABELS)
    np.testing.assert_array_equal(data.evaluation.images, IMAGES[:4, ..., 1:2])
    assert data.train.class_names == data.evaluation.class_names == ("0", "1", "2")


def test_a_stage_trains_on_idx_and_npz(tmp_path, short_resnet):
    (tmp_path / "idx").mkdir()
    write_idx_directory(tmp_path / "idx", IMAGES[..., 0], LABELS, splits=("train",))
    train_two_steps(tmp_path / "of_idx", dataset="idx", data_dir=tmp_path / "idx")
    np.savez(tmp_path / "some.npz", images=IMAGES, labels=LABELS)
    train_two_steps(tmp_path / "of_npz", dataset="npz", data_dir=tmp_path / "some.npz")


def test_idx_without_labels_has_no_labels_and_no_evaluation(tmp_path):
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS)
    for path in tmp_path.glob("*labels*"):
        path.unlink()
    data = load("idx", data_dir=tmp_path)
    assert data.train.labels is None and data.train.class_names == () and data.evaluation is None


def test_idx_evaluation_may_lie_elsewhere(tmp_path):
    for name, splits in (("a", ["train", "t10k"]), ("b", ["t10k"])):
        (tmp_path / name).mkdir()
        pixels, count = (IMAGES, 12) if name == "a" else (OTHERS, 6)
        write_idx_directory(tmp_path / name, pixels[:count, ..., 0], LABELS[:count], splits)
    assert len(load("idx", data_dir=tmp_path / "a", eval_data_dir=tmp_path / "b").evaluation) == 6
    refuse("needs training images, got a test split alone", load, "idx", data_dir=tmp_path / "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n", "unsigned bytes, got a file that begins with 89504e47"),
        (idx_bytes(IMAGES[..., 0])[:-1], "must hold 376 bytes for its shape .* got 375"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, content, message):
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS, compress=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    refuse(f"train-images-idx3-ubyte .*{message}", load, "idx", data_dir=tmp_path)


def test_a_damaged_archive_is_named(tmp_path):
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for damaged in (path.read_bytes()[:-20], b"plain text"):
        path.write_bytes(damaged)
        refuse("train-images-idx3-ubyte.gz must be a readable IDX file", load, "idx", data_dir=tmp_path)


def test_idx_needs_its_files_and_a_label_for_every_image(tmp_path):
    refuse("needs train-images-idx3-ubyte", load, "idx", data_dir=tmp_path)
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS[:-1])
    refuse("must be 12 whole numbers, one for each image, got uint8 of shape \\[11\\]", load, "idx", data_dir=tmp_path)


def test_idx_images_may_lie_beside_without_their_labels(tmp_path):
    for name, pixels in (("a", IMAGES), ("b", OTHERS)):
        (tmp_path / name).mkdir()
        write_idx_directory(tmp_path / name, pixels[..., 0], LABELS, ["train"])
    train = load("idx", data_dir=tmp_path / "a", unlabeled_dir=tmp_path / "b").train
    np.testing.assert_array_equal(train.labels, [*LABELS, *[-1] * 12])


# One .npz file.


def test_npz_with_labels_names_and_a_file_for_evaluation(tmp_path):
    names = ["ant", "bee", "cat"]
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS, class_names=names)
    np.savez_compressed(tmp_path / "eval.npz", images=OTHERS[:2], labels=LABELS[:2])
    data = load("npz", data_dir=tmp_path / "train.npz", eval_data_dir=tmp_path / "eval.npz")
    np.testing.assert_array_equal(data.train.images, IMAGES)
    np.testing.assert_array_equal(data.evaluation.labels, LABELS[:2])
    assert data.train.class_names == data.evaluation.class_names == tuple(names)
    assert load("npz", data_dir=tmp_path / "train.npz").evaluation is None


def test_npz_of_grey_images_without_labels(tmp_path):
    np.savez(tmp_path / "grey.npz", images=IMAGES[..., 0])
    train = load("npz", data_dir=tmp_path / "grey.npz").train
    assert train.images.shape == (12, 6, 5, 1) and (train.channels, train.size) == (1, 5)
    assert train.labels is None and train.class_names == ()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": IMAGES}, "an array named images in .* got x_train"),
        ({"images": IMAGES / 255.0}, "must be uint8 in 0..255, got float64"),
        ({"images": IMAGES[..., :2]}, "with C 1 or 3, got shape \\[12, 6, 5, 2\\]"),
        ({"images": IMAGES, "labels": LABELS[:3]}, "must be 12 whole numbers"),
        ({"images": IMAGES, "labels": LABELS / 2}, "whole numbers, one for each image, got float64"),
        ({"images": IMAGES, "labels": LABELS + 20230000}, "must be numbers from 0 to 99,999, got 202300"),
        ({"images": IMAGES, "labels": LABELS * 0, "class_names": [""]}, "must be text of one line, got ''"),
        ({"images": IMAGES, "labels": LABELS - 2}, "must be at least 0, or -1 .*, got -2"),
        ({"images": IMAGES, "labels": LABELS, "class_names": ["a", "b"]}, "below the number of class names, 2, got 2"),
        ({"images": np.array([{"a": 1}], object)}, "without Python objects"),
    ],
)
def test_npz_files_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    refuse(message, load, "npz", data_dir=tmp_path / "data.npz")


@pytest.mark.parametrize("labels", [LABELS / 2.0, LABELS + 7, LABELS[1:]], ids=["fractions", "above the names", "too few"])
def test_images_are_looked_at_without_labels_that_do_not_fit(tmp_path, labels, caplog):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=labels, class_names=["a", "b", "c"])
    refuse("labels of images in .*x.npz", load, "npz", data_dir=tmp_path / "x.npz")
    source = load_images(DataConfig(dataset="npz", data_dir=str(tmp_path / "x.npz")))
    np.testing.assert_array_equal(source.images, IMAGES)
    assert source.labels is None and "here the images are used without labels" in caplog.text


def test_other_files_than_npz_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    refuse("a file of named arrays, got a single array", load, "npz", data_dir=tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("hello")
    refuse("written by numpy.savez", load, "npz", data_dir=tmp_path / "text.npz")
    refuse("data_dir must be a file with dataset=npz, got the directory", load, "npz", data_dir=tmp_path)


# Data in memory.


def test_arrays_give_training_and_evaluation():
    data = from_arrays(IMAGES, LABELS, OTHERS[:2], LABELS[:2], class_names=["a", "b", "c"])
    assert len(data.train) == 12 and len(data.evaluation) == 2
    assert data.train.class_names == data.evaluation.class_names == ("a", "b", "c")
    assert from_arrays(IMAGES).evaluation is None
    refuse("eval_images and eval_labels, got only one", from_arrays, IMAGES, LABELS, IMAGES)
    refuse("got 1 images without one in eval_images", from_arrays, IMAGES, LABELS, OTHERS[:2], [0, -1])
    refuse("images must be one array of images of one size, got list", from_arrays, [IMAGES[0], IMAGES[0, 1:]])
    assert from_arrays(IMAGES, LABELS, class_names=None).train.class_names == from_arrays(IMAGES, LABELS).train.class_names
    refuse("labels of eval_images must be below the number of class names, 3, got 3", from_arrays, IMAGES, LABELS, IMAGES[:1], [3])
    for names in "abc", {0: "a", 1: "b", 2: "c"}:
        refuse(f"must be a list of text in label order, got a {type(names).__name__}", from_arrays, IMAGES, LABELS, class_names=names)


def slices(elements):
    return tf.data.Dataset.from_tensor_slices(elements)


@pytest.mark.parametrize(
    "elements",
    [(IMAGES, LABELS), {"image": IMAGES, "label": LABELS, "id": LABELS}, IMAGES, {"image": IMAGES}],
    ids=["pair", "dict", "image", "dict of image"],
)
def test_datasets_are_read_into_arrays(elements):
    data = from_dataset(slices(elements), slices((OTHERS[:2], LABELS[:2])))
    np.testing.assert_array_equal(data.train.images, IMAGES)
    labelled = isinstance(elements, tuple) or isinstance(elements, dict) and "label" in elements
    assert (data.train.labels is not None) == labelled
    assert len(data.evaluation) == 2


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (slices(IMAGES).repeat(), "must be finite, got an endless"),
        (slices(IMAGES).take(0), "at least one element"),
        (slices(IMAGES).batch(4), "single images .* got shape \\[4, 6, 5, 3\\]; add .unbatch"),
        (slices(IMAGES).batch(5), "single images .* got shape \\[2, 6, 5, 3\\]; add .unbatch"),
        (slices(IMAGES[..., 0]).batch(4), "single images .* got shape \\[4, 6, 5\\]; add .unbatch"),
        (slices({"picture": IMAGES}), "got a dict of picture"),
        (slices({"image": IMAGES, "labels": LABELS}), "got a dict of image, labels"),
        (IMAGES, "dataset must be a tf.data.Dataset, got ndarray"),
        (slices((IMAGES, LABELS, LABELS)), "got tuple"),
        (slices(IMAGES / 255.0), "must be uint8"),
        (slices(IMAGES).enumerate().map(lambda i, image: image[: 2 + i % 2]), "must have one size, got \\[2, 5, 3\\] and \\[3, 5, 3\\]"),
    ],
)
def test_datasets_of_something_else_are_refused(dataset, message):
    refuse(message, from_dataset, dataset)


# Names and combinations.


@pytest.mark.parametrize(
    ("location", "files", "kind"),
    [
        ("table.csv", (), "csv"),
        ("TABLE.TSV", (), "csv"),
        ("arrays.npz", (), "npz"),
        ("shards/train.tfrecord", (), "tfrecord"),
        ("shards/x.tfrecord-00000-of-00008", (), "tfrecord"),
        ("shards/x.tfrecord*", (), "tfrecord"),
        ("gs://bucket/set/train-*", (), "tfrecord"),
        ("s3://bucket/set", (), "tfrecord"),
        ("gs://bucket/table.csv", (), "csv"),
        ("in", ("train-00000-of-00001.tfrecord", "classes.txt"), "tfrecord"),
        ("in", ("x.tfrecord-00000-of-00001",), "tfrecord"),
        ("in", ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), "idx"),
        ("in", ("1.png", "2.png"), "folder"),
        ("my-tfrecords", ("1.png", "2.png"), "folder"),
        ("in", (), "folder"),
        ("no/such/place", (), "folder"),
    ],
)
def test_the_kind_of_a_place_is_guessed(tmp_path, monkeypatch, location, files, kind):
    monkeypatch.chdir(tmp_path)
    for name in files:
        (tmp_path / location).mkdir(exist_ok=True)
        (tmp_path / location / name).touch()
    assert guess(location) == kind


def test_a_place_that_cannot_be_looked_into(tmp_path, monkeypatch):
    def scandir(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", scandir)  # an administrator may look into any
    with pytest.raises(UsageError, match=f"data_dir must be a directory to read, got {tmp_path} .Permission denied.; give another one"):
        guess(str(tmp_path))


@pytest.mark.usefixtures("headers_only")
def test_a_guess_is_read(tmp_path):
    np.savez(tmp_path / "data.npz", images=IMAGES, labels=LABELS)
    assert len(load("", data_dir=tmp_path / "data.npz").train) == 12
    for name in ("in/a/1.png", "in/b/2.png"):
        save(tmp_path / name)
    assert load("", data_dir=tmp_path / "in").train.class_names == ("a", "b")
    (tmp_path / "table.csv").write_text("in/a/1.png,x\nin/b/2.png,y\n")
    assert load("", data_dir=tmp_path / "table.csv").train.class_names == ("x", "y")
    refuse("data_dir must be an existing path", load, "", data_dir=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "fashion_mnist"}, "got 'fashion_mnist'; did you mean fashion_mnist_8k?"),
        ({"dataset": "foldr"}, "did you mean folder?"),
        ({"dataset": "cifar10"}, "is written tfds:NAME"),
        ({"dataset": "tfds:"}, "got 'tfds:'"),
        ({"dataset": "folder"}, "needs data_dir, got none; give the directory"),
        ({"dataset": "npz"}, "needs data_dir, got none; give the file"),
        ({"dataset": "idx", "data_dir": "/no/such/place"}, "data_dir must be an existing path, got /no/such/place"),
        ({"dataset": "fashion_mnist_8k", "data_dir": "/tmp"}, "is bundled and takes no data_dir"),
        ({"eval_data_dir": "/tmp"}, "is bundled and takes no eval_data_dir"),
        ({"dataset": "folder", "data_dir": "/tmp", "eval_data_dir": "/tmp", "eval_on": "holdout"}, "got both; drop one"),
    ],
)
def test_names_and_combinations_that_cannot_be(settings, message):
    refuse(message, load_data, DataConfig(**settings))


def test_a_part_keeps_encoded_images_and_labels_together(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number % 2}" / f"{number}.png", IMAGES[number])
    part = load("folder", data_dir=tmp_path).train.take(np.array([3, 0]))
    assert relative(part, tmp_path) == ["1/3.png", "0/0.png"]
    np.testing.assert_array_equal(part.labels, [1, 0])
    np.testing.assert_array_equal(decode.read(tf.io.read_file(part.encoded[0]), 3), IMAGES[3])
