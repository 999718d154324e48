"""TFRecord shards, read in place: which belong to a split, what their labels mean, and what damage does."""

import numpy as np
import pytest
import tensorflow as tf
from data import images

from tf_simclr.config import DataConfig, ModelConfig, PretrainConfig
from tf_simclr.data import load_data, pipeline
from tf_simclr.data.storage import Records
from tf_simclr.data.tfrecord import read
from tf_simclr.errors import UsageError

ENCODED = [images.encode(np.random.RandomState(i).randint(0, 256, [9 + i, 8, 3], np.uint8)) for i in range(8)]
BMP = 6  # one whose pixels have no checksum of their own
ENCODED[BMP] = images.encode(images.RGB, "BMP")


def record(number, label=None, image_feature="image/encoded", label_feature="image/class/label"):
    """A serialized `tf.train.Example` of the image of that number; the label is a whole number, a text or a list of them."""
    features = {image_feature: tf.train.Feature(bytes_list=tf.train.BytesList(value=[ENCODED[number]]))}
    if isinstance(label, int):
        features[label_feature] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    elif label is not None:
        features[label_feature] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[label.encode()]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write(path, records, compression=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for data in records:
            writer.write(data)
    return path


def load(location, **settings):
    return load_data(DataConfig(dataset="tfrecord", data_dir=str(location), **settings))


def numbers(source):
    """Which of ENCODED they are."""
    return [ENCODED.index(source.storage.load(key)) for key in source.encoded]


def refuse(message, location, **settings):
    with pytest.raises(UsageError, match=message) as caught:
        load(location, **settings)
    assert "\n" not in str(caught.value)


# Which shards.


def test_a_directory_a_file_and_a_pattern(tmp_path, headers_only):
    for i, name in enumerate(("b-00001-of-00002.tfrecord", "b-00000-of-00002.tfrecord", "a.tfrecord-00000-of-00001")):
        write(tmp_path / "in [1]" / name, [record(2 * i), record(2 * i + 1)])
    for name in ("notes.txt", ".b.tfrecord", "b-00002-of-00003.part"):
        (tmp_path / "in [1]" / name).write_text("no records")
    train = load(tmp_path / "in [1]").train
    assert numbers(train) == [4, 5, 2, 3, 0, 1] and train.storage == Records("image/encoded")
    assert train.labels is None and train.class_names == () and (train.size, train.channels) == (8, 3)
    assert numbers(load(tmp_path / "in [1]" / "b-00000-of-00002.tfrecord").train) == [2, 3]
    assert numbers(load(tmp_path / "in ?1?" / "b-*.tfrecord").train) == [2, 3, 0, 1]
    assert numbers(load(f"file://{tmp_path}/in ?1?/b-*.tfrecord").train) == [2, 3, 0, 1]  # as remote places are read


def test_an_image_is_named_by_its_shard_and_byte(tmp_path, headers_only):
    first = record(0)
    shard = write(tmp_path / "x.tfrecord", [first, record(1)])
    train = load(tmp_path).train
    assert [train.name(i) for i in range(2)] == [f"{shard} at byte 0", f"{shard} at byte {len(first) + 16}"]
    assert train.take(np.array([1])).name(0) == train.name(1)


@pytest.mark.parametrize(
    ("names", "training", "evaluation"),
    [
        ("train.tfrecord test.tfrecord", "0", "1"),
        ("set-train.tfrecord-00000-of-00001 set-validation.tfrecord-00000-of-00001", "0", "1"),
        ("train.tfrecord test.tfrecord val.tfrecord other.tfrecord", "0", "1"),
        ("a.tfrecord b.tfrecord val.tfrecord", "01", "2"),
        ("a.tfrecord b.tfrecord", "01", None),
        ("contest-train.tfrecord contest-test.tfrecord", "0", "1"),
        ("latest-0.tfrecord oval-0.tfrecord strain.tfrecord", "012", None),
        ("Train00.tfrecord x_testing_1.tfrecord", "0", "1"),
        ("traindata-0.tfrecord testdata-0.tfrecord", "0", "1"),
        ("a.tfrecord valley.tfrecord set_validation.tfrecord", "01", "2"),
    ],
)
def test_splits_by_name(tmp_path, headers_only, names, training, evaluation):
    for i, name in enumerate(names.split()):
        write(tmp_path / name, [record(i, 0)])
    data = load(tmp_path)
    assert numbers(data.train) == [int(i) for i in training]
    assert (None if data.evaluation is None else numbers(data.evaluation)) == (evaluation and [int(i) for i in evaluation])


def test_evaluation_may_lie_elsewhere(tmp_path, headers_only):
    write(tmp_path / "a" / "train.tfrecord", [record(0, 0), record(1, 1)])
    write(tmp_path / "b" / "test.tfrecord", [record(2, 1)])
    write(tmp_path / "c" / "some.tfrecord", [record(3, 0)])
    data = load(tmp_path / "a", eval_data_dir=str(tmp_path / "b"), unlabeled_dir=str(tmp_path / "c"))
    assert numbers(data.train) == [0, 1, 3] and data.train.labels.tolist() == [0, 1, -1]
    assert numbers(data.evaluation) == [2] and data.evaluation.labels.tolist() == [1]
    assert numbers(load(tmp_path / "a", eval_data_dir=str(tmp_path / "c")).evaluation) == [3]
    refuse("needs shards for training in .*b, got .*test.tfrecord and the like; use eval_data_dir", tmp_path / "b")


@pytest.mark.parametrize("location", ["", "nothing-*"])
def test_no_shards(tmp_path, location):
    (tmp_path / "classes.txt").write_text("a\n")
    refuse("needs files named \\*.tfrecord\\* or a pattern of files, got none in", tmp_path / location)


def test_places_that_cannot_be_read(tmp_path):
    refuse("cannot read nosuch://bucket/train-\\* \\(File system scheme 'nosuch' not implemented", "nosuch://bucket/train-*")
    refuse("cannot read /tmp/\\\\xff", b"/tmp/\xff".decode("utf-8", "surrogateescape"))
    with pytest.raises(OSError, match="/nowhere"):  # an error of TensorFlow, as remote places have it, is one of Python
        Records("image/encoded").load("0:5:file:///nowhere")


# What the labels mean.


def labels_of(tmp_path, labels, classes=None, **settings):
    """Class names, and class of every image."""
    write(tmp_path / "train.tfrecord", [record(i, label) for i, label in enumerate(labels)])
    if classes is not None:
        (tmp_path / "classes.txt").write_bytes(classes)
    train = load(tmp_path, **settings).train
    return train.class_names, None if train.labels is None else train.labels.tolist()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([2, 0, 2], b"cat\ndog\nowl\n", (("cat", "dog", "owl"), [2, 0, 2])),
        ([2, None, -1], b"cat\r\nb\xc3\xa4r\r\nowl", (("cat", "bär", "owl"), [2, -1, -1])),
        ([0, 1], b"\xef\xbb\xbfcat\ndog\n\n", (("cat", "dog"), [0, 1])),
        ([10, 9, 1000, 9], None, (("9", "10", "1000"), [1, 0, 2, 0])),
        ([10, None, -1], None, (("10",), [0, -1, -1])),
        (["owl", "cat", None], None, (("cat", "owl"), [1, 0, -1])),
        (["owl", "cat", None], b"owl\ndog\ncat\n", (("owl", "dog", "cat"), [0, 2, -1])),
        (["10", "9"], None, (("9", "10"), [1, 0])),
        ([None, None], b"cat\ndog\n", ((), None)),
        ([-1, -1], None, ((), None)),
    ],
    ids=[
        "numbers and classes",
        "missing and -1",
        "BOM and blank end",
        "numbers",
        "numbers missing",
        "texts",
        "texts and classes",
        "texts of numbers",
        "none",
        "all -1",
    ],
)
def test_labels(tmp_path, headers_only, labels, classes, expected):
    assert labels_of(tmp_path, labels, classes) == expected


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 3], b"a\nb\nc\n", "must be in 0..2, as classes.txt has 3 lines, got 3 in"),
        ([0, -2], b"a\nb\nc\n", "must be in 0..2, as classes.txt has 3 lines, got -2 in"),
        (["a", "b"], b"a\nc\n", "must be lines of classes.txt, got b in .*; add it to the file"),
        ([0, "a"], None, "must be all whole numbers or all names, got both"),
        ([0, 1], b"\xe4\n\xf6\n", "classes.txt must be text in UTF-8"),
    ],
)
def test_labels_that_are_no_classes(tmp_path, headers_only, labels, classes, message):
    with pytest.raises(UsageError, match=message):
        labels_of(tmp_path, labels, classes)


@pytest.mark.parametrize("labels", [[1, 5, 2, 5], ["cat", "owl", "dog", "owl"]])
def test_a_test_split_that_lacks_classes_has_those_of_training(tmp_path, headers_only, labels):
    """Without classes.txt the labels that occur are all that is known: 5 must not become the sixth class, or the fifth."""
    write(tmp_path / "train.tfrecord", [record(i, label) for i, label in enumerate(labels)])
    write(tmp_path / "test.tfrecord", [record(4, labels[3]), record(5, labels[2])])
    data = load(tmp_path)
    assert data.train.class_names == data.evaluation.class_names
    assert [data.train.class_names[i] for i in data.train.labels] == list(map(str, labels))
    assert [data.train.class_names[i] for i in data.evaluation.labels] == [str(labels[3]), str(labels[2])]
    write(tmp_path / "test.tfrecord", [record(4, 7 if labels[0] == 1 else "bee")])
    refuse("must have the training data's classes in the same order", tmp_path)
    write(tmp_path / "test.tfrecord", [record(4)])
    assert load(tmp_path).evaluation is None
    write(tmp_path / "test.tfrecord", [record(4, labels[0]), record(5)])
    refuse("must have labels, got 1 images without one", tmp_path)


@pytest.mark.parametrize(
    ("label", "got"),
    [
        (tf.train.Feature(int64_list=tf.train.Int64List(value=[0, 1, 0])), "3 values"),
        (tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", b"b"])), "2 values"),
        (tf.train.Feature(float_list=tf.train.FloatList(value=[1.0])), "floating-point numbers"),
    ],
)
def test_labels_that_are_not_one(tmp_path, headers_only, label, got):
    example = tf.train.Example.FromString(record(1))
    example.features.feature["image/class/label"].CopyFrom(label)
    write(tmp_path / "train.tfrecord", [record(0, 1), example.SerializeToString()])
    refuse(f"must be one whole number or one name, got {got} in the feature image/class/label of .*; set label_feature", tmp_path)


def test_a_labelled_val_is_scored_on_where_test_has_no_labels(tmp_path, headers_only):
    for number, (name, label) in enumerate((("train", 0), ("val", 0), ("test", None))):
        write(tmp_path / f"{name}.tfrecord", [record(number, label)])
    assert numbers(load(tmp_path).evaluation) == [1]
    write(tmp_path / "test.tfrecord", [record(2, -1)])
    assert numbers(load(tmp_path).evaluation) == [1]
    write(tmp_path / "test.tfrecord", [record(3, 0)])
    assert numbers(load(tmp_path).evaluation) == [3]


def test_features_of_other_names(tmp_path, headers_only):
    for name in "ab":
        write(tmp_path / f"{name}.tfrecord", [record(0, 3, "jpeg", "class"), record(1, 4, "jpeg", "class")])
    train = load(tmp_path / "a.tfrecord", image_feature="jpeg", label_feature="class").train
    assert train.class_names == ("3", "4") and train.storage == Records("jpeg") and numbers(train) == [0, 1]
    assert load(tmp_path / "a.tfrecord", image_feature="jpeg").train.labels is None
    refuse(
        "^every record needs an encoded image in its feature image/encoded, got class, jpeg in .*a.tfrecord at byte 0; set image_feature$",
        tmp_path,
    )


# Damage.


def test_a_shard_that_is_cut_short(tmp_path):
    first = record(0)
    shard = write(tmp_path / "x.tfrecord", [first, record(1)])
    content = shard.read_bytes()
    for length in (len(content) - 1, len(first) + 16 + 12, len(first) + 16 + 5):
        shard.write_bytes(content[:length])
        refuse(f"must be a whole, uncompressed TFRecord file, got one that ends inside the record at byte {len(first) + 16}", tmp_path)
    shard.write_bytes(b"")
    refuse("needs at least one record in .*, got empty shards", tmp_path)


@pytest.mark.parametrize("place", [2, 3, 4])
def test_a_damaged_length_asks_for_no_memory(tmp_path, place):
    shard = write(tmp_path / "x.tfrecord", [record(0)])
    content = bytearray(shard.read_bytes())
    content[place] = 0x7F  # of up to 545 GB
    shard.write_bytes(content)
    refuse("x.tfrecord must be a whole, .*, got one that ends inside the record at byte 0; write it again", tmp_path)


def test_what_is_no_shard_is_named(tmp_path):
    shard = write(tmp_path / "x.tfrecord", [record(0)], "GZIP")
    refuse("x.tfrecord must be a whole, uncompressed TFRecord file, got one that holds no uncompressed record at byte 0", shard)
    shard.write_text("plain text and more of it")
    refuse("holds no uncompressed record at byte 0", shard)
    write(shard, [b"hello", b"you"])
    refuse("x.tfrecord must hold tf.train.Example records, got others", shard)
    write(shard, [tf.train.Example().SerializeToString()])
    refuse("feature image/encoded, got no feature in", shard)
    shard.unlink()
    shard.mkdir()
    refuse("x.tfrecord must be a file that can be read, got an error \\(.*Is a directory", tmp_path)


def test_a_damaged_image_is_bad_and_the_others_are_read(tmp_path):
    """The byte is one of the pixels, so that only the checksum of the record tells, when the image is read as in training."""
    shard = write(tmp_path / "x.tfrecord", [record(i, i % 2) for i in (0, 1, BMP, 3)])
    content = bytearray(shard.read_bytes())
    content[content.index(ENCODED[BMP]) + len(ENCODED[BMP]) - 20] ^= 1
    shard.write_bytes(content)
    data = load(tmp_path, max_bad_fraction=0.25)
    assert numbers(data.train) == [0, 1, 3] and data.train.labels.tolist() == [0, 1, 1]
    ((name, reason),) = data.bad
    assert name == f"{shard} at byte {2 * 16 + len(record(0, 0)) + len(record(1, 1))}" and reason.startswith("damaged: corrupted record")
    refuse("at most 1.00% of the images may be bad, got 1 of 4 .*x.tfrecord at byte", tmp_path)


# Use.


def test_records_and_files_give_the_same_batches(tmp_path):
    (tmp_path / "folder").mkdir()
    for i, content in enumerate(ENCODED):
        home = tmp_path / "folder" / str(i // 4)
        home.mkdir(exist_ok=True)
        (home / f"{i}.png").write_bytes(content)
    write(tmp_path / "shards" / "a.tfrecord", [record(i, i // 4) for i in range(5)])
    write(tmp_path / "shards" / "b.tfrecord", [record(i, i // 4) for i in range(5, 8)])
    files = load_data(DataConfig(dataset="folder", data_dir=str(tmp_path / "folder"))).train
    shards = load(tmp_path / "shards").train
    assert shards.fingerprint() == files.fingerprint() and shards.class_names == files.class_names
    spec = ModelConfig(image_size=8, channels=3)
    policy = PretrainConfig(jitter=0.0, grey=0.0, blur=0.0)
    batches = [
        list(pipeline.training_batches(source, spec=spec, policy=policy, seed=3, batch_size=4, start=1, stop=3, view_count=2))
        for source in (files, shards)
    ]
    for expected, found in zip(*batches):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, found)
    plain = [np.concatenate(list(pipeline.plain_batches(source, spec=spec, batch_size=3))) for source in (files, shards)]
    np.testing.assert_array_equal(*plain)
    assert len(batches[1]) == 2 and plain[1].shape == (8, 8, 8, 3)


def test_the_graph_reads_the_bytes_that_python_reads(tmp_path):
    path = write(tmp_path / "a:b #1.tfrecord", [record(i) for i in range(3)])
    storage = Records("image/encoded")
    limits = DataConfig(dataset="tfrecord")
    for location in (str(path), f"file://{path}"):
        source = read(location, "train", limits=limits)
        for i, key in enumerate(source.encoded):
            assert storage.content(storage.tensor([key])[0]).numpy() == storage.load(key) == ENCODED[i]
            assert storage.size(key) == len(record(i))
