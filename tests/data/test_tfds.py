"""TensorFlow Datasets: real data sets, written to disk and read back by name, without a network."""

import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds
from data.sources import train_two_steps
from tensorflow_datasets.core import registered
from tensorflow_datasets.core.utils import gcs_utils

from tf_simclr.config import DataConfig
from tf_simclr.data import decode, load_data
from tf_simclr.data.storage import Memory
from tf_simclr.errors import UsageError

COUNTS = {"train": 30, "test": 8}


def pixels(number, height=6, width=5):
    return np.random.RandomState(number).randint(0, 256, [height, width, 3], np.uint8)


class Prepared(tfds.core.GeneratorBasedBuilder):
    """What the data sets of these tests share: COUNTS images, labelled in turn, of one size unless a subclass says otherwise."""

    VERSION = tfds.core.Version("1.0.0")
    shape = (6, 5, 3)
    counts = COUNTS
    hidden = ()
    code_path = None  # TFDS would look for files beside the code, and finds no module of that name

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self.features()))

    def features(self):
        return {"image": tfds.features.Image(shape=self.shape), "label": tfds.features.ClassLabel(names=["ant", "bee", "cat"])}

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split, count) for split, count in self.counts.items()}

    def _generate_examples(self, split, count):
        for number in range(count):
            yield number, self.example(number, -1 if split in self.hidden else number % 3)

    def example(self, number, label):
        return {"image": pixels(number), "label": label}


class OneSize(Prepared):
    pass


class WithId(Prepared):
    def features(self):
        return {**super().features(), "id": tfds.features.Text()}

    def example(self, number, label):
        return {**super().example(number, label), "id": f"train_{number:05d}"}


class ManySizes(Prepared):
    shape = (None, None, 3)

    def example(self, number, label):
        return {"image": pixels(number, 6 + number % 4, 9), "label": label}


class HiddenTest(Prepared):
    counts = {"train": 30, "validation": 5, "test": 8}
    hidden = ("test",)


class NoLabels(Prepared):
    def features(self):
        return {"image": tfds.features.Image(shape=self.shape)}

    def example(self, number, label):
        return {"image": pixels(number)}


class NoImages(Prepared):
    def features(self):
        return {"text": tfds.features.Text()}

    def example(self, number, label):
        return {"text": "none"}


class CannotDownload(Prepared):
    def _split_generators(self, dl_manager):
        raise OSError("no route to host\nand more lines")


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Any use of the network fails; TFDS' own look into its bucket is native code, which waits long and is switched off."""
    monkeypatch.setattr(gcs_utils, "_is_gcs_disabled", True)

    def refuse(*args, **kwargs):
        raise AssertionError(f"the network was asked for {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A TFDS data directory with the data sets above."""
    directory = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gcs_utils, "_is_gcs_disabled", True)
        for builder in (OneSize, WithId, ManySizes, HiddenTest, NoLabels, NoImages):
            builder(data_dir=str(directory)).download_and_prepare()
    return directory


@pytest.fixture
def forgotten(monkeypatch):
    """As in a fresh process: the code of these data sets is not known, only their files are."""
    own = {name for name, cls in registered._DATASET_REGISTRY.items() if cls.__module__ == __name__}
    monkeypatch.setattr(registered, "_DATASET_REGISTRY", {k: v for k, v in registered._DATASET_REGISTRY.items() if k not in own})


def load(name, directory, **settings):
    return load_data(DataConfig(dataset=f"tfds:{name}", data_dir=str(directory), **settings))


def numbers_of(images):
    """Which generated image each one is, found by its pixels."""
    known = {pixels(number).tobytes(): number for number in range(30)}
    return [known[image.tobytes()] for image in images]


def test_images_of_one_size_are_decoded(prepared, forgotten):
    data = load("one_size", prepared)
    numbers = numbers_of(data.train.images)
    assert sorted(numbers) == list(range(30))
    np.testing.assert_array_equal(data.train.labels, np.array(numbers) % 3)
    assert len(data.evaluation) == 8 and (data.train.size, data.train.channels) == (5, 3)
    assert data.train.class_names == data.evaluation.class_names == ("ant", "bee", "cat")


def test_a_stage_trains_on_it(prepared, forgotten, short_resnet, tmp_path):
    train_two_steps(tmp_path, dataset="tfds:one_size", data_dir=prepared)


def test_the_order_is_the_same_every_time(prepared):
    assert load("one_size", prepared).train.fingerprint() == load("one_size", prepared).train.fingerprint()


def test_what_is_prepared_is_read_though_the_code_is_newer(prepared, monkeypatch):
    monkeypatch.setattr(OneSize, "VERSION", tfds.core.Version("2.0.0"))
    assert len(load("one_size", prepared).train) == 30
    assert not (prepared / "one_size" / "2.0.0").exists()


def test_examples_with_an_id_come_in_its_order(prepared):
    assert numbers_of(load("one_size", prepared).train.images) != list(range(30))
    assert numbers_of(load("with_id", prepared).train.images) == list(range(30))


def test_images_of_many_sizes_stay_encoded(prepared, forgotten):
    train = load("many_sizes", prepared).train
    assert train.images is None and train.storage == Memory() and len(train) == 30
    assert train.channels == 3 and train.size in (7, 8)
    expected = {pixels(number, 6 + number % 4, 9).tobytes(): number for number in range(30)}
    numbers = [expected[decode.read(content, 3).numpy().tobytes()] for content in train.encoded]
    np.testing.assert_array_equal(train.labels, np.array(numbers) % 3)


def test_a_test_split_with_hidden_labels_gives_way_to_validation(prepared):
    data = load("hidden_test", prepared)
    assert len(data.evaluation) == 5 and data.evaluation.labels.min() == 0


def test_a_hold_out_of_a_named_data_set(prepared):
    data = load("one_size", prepared, eval_on="holdout", holdout_fraction=0.2)
    assert (len(data.train), len(data.evaluation)) == (24, 6)


def test_without_labels_nothing_is_invented(prepared):
    data = load("no_labels", prepared)
    assert data.train.labels is None and data.train.class_names == () and data.evaluation is None


def test_a_data_set_without_images_is_refused(prepared):
    with pytest.raises(UsageError, match="needs a feature image of uint8, got text"):
        load("no_images", prepared)


def test_a_known_data_set_is_prepared_on_demand(tmp_path):
    assert len(load("one_size", tmp_path).train) == 30
    assert (tmp_path / "one_size" / "1.0.0" / "dataset_info.json").exists()


def test_a_failing_download_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="OSError: no route to host.*prepare it where there is a network, by tfds build") as caught:
        load("cannot_download", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "hint"), [("one_sise", "did you mean tfds:one_size?"), ("zzzzqqqq", "check the name")])
def test_an_unknown_name_is_refused(tmp_path, name, hint):
    with pytest.raises(UsageError, match=f"got '{name}'; {hint}"):
        load(name, tmp_path)
