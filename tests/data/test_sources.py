"""Every source, read from real files that the tests write."""

import gzip
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_simclr.config import DataConfig, ModelConfig, PretrainConfig
from tf_simclr.data import check, decode, fashion_mnist, from_arrays, from_dataset, load_data
from tf_simclr.data.load import guess
from tf_simclr.data.pipeline import training_batches
from tf_simclr.data.storage import Files
from tf_simclr.errors import UsageError

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "make_fashion_mnist_8k.py"
IMAGES = np.random.RandomState(0).randint(0, 256, [12, 6, 5, 3], np.uint8)
LABELS = np.arange(12) % 3
OTHERS = 255 - IMAGES  # for evaluation: no image may stand in two sets


def load(dataset, **settings):
    return load_data(DataConfig(dataset=dataset, **{key: str(value) for key, value in settings.items()}))


def refuse(message, call, *args, **settings):
    with pytest.raises(UsageError, match=message) as caught:
        call(*args, **settings)
    assert "\n" not in str(caught.value)


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


def idx_bytes(array):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()


def write_idx_directory(directory, images, labels, splits=("train", "t10k"), compress=True):
    for split in splits:
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = directory / f"{split}-{kind}-ubyte"
            if compress:
                path = path.with_name(path.name + ".gz")
            path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))


@pytest.mark.parametrize("compress", [True, False])
def test_idx_reads_both_splits(tmp_path, compress):
    write_idx_directory(tmp_path, IMAGES[..., 0], LABELS, ["train"], compress)
    write_idx_directory(tmp_path, IMAGES[:4, ..., 1], LABELS[:4], ["t10k"], compress)
    data = load("idx", data_dir=tmp_path)
    np.testing.assert_array_equal(data.train.images, IMAGES[..., :1])
    np.testing.assert_array_equal(data.train.labels, LABELS)
    np.testing.assert_array_equal(data.evaluation.images, IMAGES[:4, ..., 1:2])
    assert data.train.class_names == data.evaluation.class_names == ("0", "1", "2")


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
        ({"images": IMAGES, "labels": LABELS - 2}, "must be at least 0, or -1 .*, got -2"),
        ({"images": IMAGES, "labels": LABELS, "class_names": ["a", "b"]}, "below the number of class names, 2, got 2"),
        ({"images": np.array([{"a": 1}], object)}, "without Python objects"),
    ],
)
def test_npz_files_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    refuse(message, load, "npz", data_dir=tmp_path / "data.npz")


def test_other_files_than_npz_are_refused(tmp_path):
    np.save(tmp_path / "one.npy", IMAGES)
    refuse("a file of named arrays, got a single array", load, "npz", data_dir=tmp_path / "one.npy")
    (tmp_path / "text.npz").write_text("hello")
    refuse("written by numpy.savez", load, "npz", data_dir=tmp_path / "text.npz")
    refuse("written by numpy.savez", load, "npz", data_dir=tmp_path)


# A folder of image files.


def save(path, image=None):
    """An image file; without an image given, a different one at every path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(zlib.crc32(str(path).encode()))
    Image.fromarray(random.randint(0, 256, [6, 5, 3], np.uint8) if image is None else image).save(path)


def relative(source, root):
    return [str(pathlib.Path(path).relative_to(root)) for path in source.encoded]


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
    refuse("needs directories that can be read, got .*1.png", load, "folder", data_dir=tmp_path / "a/1.png")
    (tmp_path / "b" / "broken.png").write_bytes(b"not an image")
    refuse("bad, got 1 of 2 in .*broken.png: not an image that is read here", load, "folder", data_dir=tmp_path)


def test_a_folder_of_splits_is_explained(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png"):
        save(tmp_path / name)
    refuse("use data_dir=.*train and eval_data_dir=.*val", load, "folder", data_dir=tmp_path)
    data = load("folder", data_dir=tmp_path / "train", eval_data_dir=tmp_path / "val")
    assert data.evaluation.class_names == ("a", "b") and len(data.evaluation) == 2


def test_evaluation_folders_must_have_the_training_classes(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "other/a/1.png", "other/c/1.png", "flat/1.png"):
        save(tmp_path / name)
    refuse("2 classes \\(a, b\\), got 2 classes \\(a, c\\)", load, "folder", data_dir=tmp_path / "train", eval_data_dir=tmp_path / "other")
    refuse("must have labels, got images without", load, "folder", data_dir=tmp_path / "train", eval_data_dir=tmp_path / "flat")
    data = load("folder", data_dir=tmp_path / "flat", eval_data_dir=tmp_path / "train")
    assert data.train.labels is None and data.evaluation.class_names == ("a", "b")


@pytest.fixture
def headers_only(monkeypatch):
    """For tests of which files are found; whether all of each decodes takes long to find out."""
    monkeypatch.setattr(check, "_undecodable", lambda *_: {})


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


# Data in memory.


def test_arrays_give_training_and_evaluation():
    data = from_arrays(IMAGES, LABELS, OTHERS[:2], LABELS[:2], class_names=["a", "b", "c"])
    assert len(data.train) == 12 and len(data.evaluation) == 2
    assert data.train.class_names == data.evaluation.class_names == ("a", "b", "c")
    assert from_arrays(IMAGES).evaluation is None
    refuse("eval_images and eval_labels, got only one", from_arrays, IMAGES, LABELS, IMAGES)
    refuse("labels of eval_images must be below the number of class names, 3, got 3", from_arrays, IMAGES, LABELS, IMAGES[:1], [3])


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
        (slices({"picture": IMAGES}), "got a dict of picture"),
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
        ("in", (), "folder"),
        ("no/such/place", (), "folder"),
    ],
)
def test_the_kind_of_a_place_is_guessed(tmp_path, monkeypatch, location, files, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in files:
        (tmp_path / "in" / name).touch()
    assert guess(location) == kind


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


def test_idx_images_may_lie_beside_without_their_labels(tmp_path):
    for name, pixels in (("a", IMAGES), ("b", OTHERS)):
        (tmp_path / name).mkdir()
        write_idx_directory(tmp_path / name, pixels[..., 0], LABELS, ["train"])
    train = load("idx", data_dir=tmp_path / "a", unlabeled_dir=tmp_path / "b").train
    np.testing.assert_array_equal(train.labels, [*LABELS, *[-1] * 12])
