"""R16: no image may stand in two of the labelled, unlabelled and evaluation sets; also `--unlabeled_dir`, which makes one of them."""

import gzip
import shutil

import numpy as np
import pytest
import tiny
from absl import logging
from data import images

from tf_simclr import cli
from tf_simclr.config import DataConfig
from tf_simclr.data import load_data
from tf_simclr.data.overlap import find_overlap
from tf_simclr.errors import UsageError

PIXELS = np.random.RandomState(0).randint(0, 256, [12, 9, 8, 3], np.uint8)
LABELS = np.arange(12) % 2
pytestmark = pytest.mark.usefixtures("headers_only")


def write_folder(root, numbers, classes=True):
    """Image files of PIXELS, in two class folders, or flat."""
    for number in numbers:
        home = root / str(number % 2) if classes else root
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{number}.png").write_bytes(images.encode(PIXELS[number]))
    return str(root)


@pytest.fixture
def folders(tmp_path):
    """Settings of three clean sets: six labelled images, four unlabelled, two for evaluation."""
    parts = {"data_dir": range(6), "unlabeled_dir": range(6, 10), "eval_data_dir": range(10, 12)}
    homes = {name: write_folder(tmp_path / name, numbers, name != "unlabeled_dir") for name, numbers in parts.items()}
    return {"dataset": "folder", **homes}


def plant(settings, tmp_path, source, target):
    """Copies an image under another name into another set; both paths."""
    copied = tmp_path / target / "holiday, renamed.PNG"
    shutil.copy(tmp_path / source, copied)
    return str(tmp_path / source), str(copied)


@pytest.mark.fault("R16")
@pytest.mark.parametrize(
    ("source", "target", "sets"),
    [
        ("eval_data_dir/0/10.png", "unlabeled_dir", ("unlabelled", "evaluation")),
        ("data_dir/1/3.png", "eval_data_dir/1", ("labelled", "evaluation")),
        ("data_dir/1/3.png", "unlabeled_dir", ("labelled", "unlabelled")),
    ],
    ids=["test image unlabelled", "labelled image in the test set", "labelled image unlabelled"],
)
def test_a_planted_image_is_named_with_both_paths(folders, tmp_path, source, target, sets, record_property):
    original, copied = plant(folders, tmp_path, source, target)
    places = {source.partition("/")[0]: original, target.partition("/")[0]: copied}
    kinds = {"labelled": "data_dir", "unlabelled": "unlabeled_dir", "evaluation": "eval_data_dir"}
    with pytest.raises(UsageError, match="must be different ones, got 1 in two sets") as caught:
        load_data(DataConfig(**folders))
    assert f"{places[kinds[sets[0]]]} ({sets[0]}) is {places[kinds[sets[1]]]} ({sets[1]})" in str(caught.value)
    assert "\n" not in str(caught.value)
    record_property("outcome", f"a planted {' and '.join(sets)} image is refused, both paths named")


@pytest.mark.fault("R16")
def test_the_command_refuses_before_training(folders, tmp_path, capsys, record_property):
    plant(folders, tmp_path, "eval_data_dir/0/10.png", "unlabeled_dir")
    flags = [f"--{name}={value}" for name, value in folders.items()]
    assert cli.main(["--stage=pretrain", f"--run_dir={tmp_path / 'run'}", *flags]) == 2
    told = capsys.readouterr()
    lines = [line for line in told.err.splitlines() if line.startswith("tf-simclr: error:")]
    assert len(lines) == 1 and "10.png (evaluation)" in lines[0] and "say --allow_overlap" in lines[0]
    assert "Traceback" not in told.err and told.out == "" and not (tmp_path / "run").exists()
    record_property("outcome", "the command ends with exit 2 and one line before it makes a run directory")


@pytest.mark.fault("R16")
def test_clean_sets_are_taken(folders, record_property):
    data = load_data(DataConfig(**folders))
    assert find_overlap(data) == [] and (len(data.train), len(data.evaluation)) == (10, 2)
    record_property("outcome", "clean sets are taken")


def test_copies_within_one_set_are_none_of_our_business(folders, tmp_path):
    for home, name in (("data_dir/0", "0.png"), ("unlabeled_dir", "6.png"), ("eval_data_dir/0", "10.png")):
        shutil.copy(tmp_path / home / name, tmp_path / home / "again.png")
    assert len(load_data(DataConfig(**folders)).train) == 12


def test_allowed_overlap_is_a_warning(folders, tmp_path, caplog):
    paths = plant(folders, tmp_path, "eval_data_dir/0/10.png", "unlabeled_dir")
    with caplog.at_level("WARNING", logging.get_absl_logger().name):
        data = load_data(DataConfig(**folders, allow_overlap=True))
    assert len(data.train) == 11
    (said,) = [record.getMessage() for record in caplog.records if "two of the labelled" in record.getMessage()]
    assert said.startswith("1 images stand") and all(path in said for path in paths)


def test_only_some_are_shown_and_all_are_counted(folders, tmp_path):
    write_folder(tmp_path / "unlabeled_dir", range(6), classes=False)
    with pytest.raises(UsageError, match="got 6 in two sets") as caught:
        load_data(DataConfig(**folders))
    assert str(caught.value).count("(unlabelled)") == 3


# Arrays.


def save(path, numbers, labels=True):
    np.savez(path, images=PIXELS[list(numbers)], **({"labels": LABELS[list(numbers)]} if labels else {}))
    return str(path)


def test_arrays_are_compared_by_their_pixels(tmp_path):
    homes = {"data_dir": save(tmp_path / "a.npz", range(6)), "eval_data_dir": save(tmp_path / "b.npz", [9, 4])}
    with pytest.raises(UsageError, match="got 1 in two sets: image 4 \\(labelled\\) is image 1 \\(evaluation\\);"):
        load_data(DataConfig(dataset="npz", **homes))
    assert len(load_data(DataConfig(dataset="npz", allow_overlap=True, **homes)).evaluation) == 2


def test_images_of_the_training_split_without_a_label_are_unlabelled(tmp_path):
    labels = np.where(np.arange(6) == 4, -1, LABELS[:6])
    np.savez(tmp_path / "a.npz", images=PIXELS[:6], labels=labels)
    with pytest.raises(UsageError, match="image 4 \\(unlabelled\\) is image 0 \\(evaluation\\)"):
        load_data(DataConfig(dataset="npz", data_dir=str(tmp_path / "a.npz"), eval_data_dir=save(tmp_path / "b.npz", [4])))


def test_published_sets_are_what_they_are(tmp_path, caplog):
    def write(name, array):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        (tmp_path / name).write_bytes(gzip.compress(bytes((0, 0, 8, array.ndim)) + sizes + array.astype(np.uint8).tobytes()))

    for split, numbers in (("train", range(6)), ("t10k", [9, 4])):
        write(f"{split}-images-idx3-ubyte.gz", PIXELS[list(numbers), ..., 0])
        write(f"{split}-labels-idx1-ubyte.gz", LABELS[list(numbers)])
    with caplog.at_level("WARNING", logging.get_absl_logger().name):
        data = load_data(DataConfig(dataset="idx", data_dir=str(tmp_path)))
    assert len(data.evaluation) == 2 and len(find_overlap(data)) == 1
    assert "image 4 (labelled) is image 1 (evaluation)" in caplog.text
    # With another test set than its own it is the user's doing.
    with pytest.raises(UsageError, match="must be different ones, got 1"):
        load_data(DataConfig(dataset="idx", data_dir=str(tmp_path), eval_data_dir=str(tmp_path)))


def test_a_hold_out_takes_copies_along(tmp_path):
    for number in range(12):
        write_folder(tmp_path, [number])
        shutil.copy(tmp_path / str(number % 2) / f"{number}.png", tmp_path / str(number % 2) / f"{number}, copy.png")
    data = load_data(DataConfig(dataset="folder", data_dir=str(tmp_path), eval_on="holdout", holdout_fraction=0.2))
    assert find_overlap(data) == [] and len(data.train) + len(data.evaluation) == 24 and 4 <= len(data.evaluation) <= 8


def test_a_held_out_image_may_not_be_among_the_unlabelled(folders, tmp_path):
    del folders["eval_data_dir"]
    config = DataConfig(**folders, eval_on="holdout", holdout_fraction=0.4)
    held = load_data(config).evaluation.name(0)
    shutil.copy(held, tmp_path / "unlabeled_dir" / "copy.png")
    with pytest.raises(UsageError, match=f"got 1 in two sets: .*copy.png \\(unlabelled\\) is {held} \\(evaluation\\)"):
        load_data(config)


# A second place of images, without labels.


def test_unlabelled_folders_follow_the_labelled(folders, tmp_path):
    for number in range(6, 10):  # what looks like classes is none there
        (tmp_path / "unlabeled_dir" / f"{number}.png").unlink()
    write_folder(tmp_path / "unlabeled_dir", range(6, 10))
    train = load_data(DataConfig(**folders)).train
    assert [path.rpartition("/")[2] for path in train.encoded] == [f"{i}.png" for i in (0, 2, 4, 1, 3, 5, 6, 8, 7, 9)]
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1] + [-1] * 4 and train.class_names == ("0", "1")
    assert len(train.facts) == 10 and train.labelled.tolist() == list(range(6))


def test_bad_images_of_both_places_are_listed(folders, tmp_path):
    for home in ("data_dir/0", "unlabeled_dir"):
        (tmp_path / home / "bad.png").write_bytes(b"")
    data = load_data(DataConfig(**folders, max_bad_fraction=0.5))
    assert data.bad == tuple((str(tmp_path / home / "bad.png"), "empty file") for home in ("data_dir/0", "unlabeled_dir"))


def test_unlabelled_arrays_lose_the_labels_they_have(tmp_path):
    homes = {"data_dir": save(tmp_path / "a.npz", range(6)), "unlabeled_dir": save(tmp_path / "b.npz", range(6, 9))}
    train = load_data(DataConfig(dataset="npz", **homes)).train
    np.testing.assert_array_equal(train.images, PIXELS[:9])
    assert train.labels.tolist() == LABELS[:6].tolist() + [-1] * 3
    save(tmp_path / "a.npz", range(6), labels=False)
    train = load_data(DataConfig(dataset="npz", **homes)).train
    assert len(train) == 9 and train.labels is None


def test_places_of_two_kinds_cannot_be_joined(tmp_path):
    homes = {"data_dir": save(tmp_path / "a.npz", range(6)), "unlabeled_dir": str(tmp_path / "b.npz")}
    np.savez(tmp_path / "b.npz", images=PIXELS[:, :5])
    with pytest.raises(UsageError, match="b.npz must be stored .*, pixels of shape \\[9, 8, 3\\], got pixels of shape \\[5, 8, 3\\]"):
        load_data(DataConfig(dataset="npz", **homes))
    homes["unlabeled_dir"] = write_folder(tmp_path / "c", range(3))
    with pytest.raises(UsageError, match="unlabeled_dir must be a file with dataset=npz, got the directory .*/c"):
        load_data(DataConfig(dataset="npz", **homes))
    homes["unlabeled_dir"] = str(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unlabeled_dir must be an existing path"):
        load_data(DataConfig(dataset="npz", **homes))


@pytest.mark.fault("R16")
def test_evaluation_images_must_be_new_to_earlier_stages(folders, tmp_path, capsys, short_resnet, record_property):
    """The unlabelled folder is that of the pretraining alone; fine-tuning, in another run, never reads it."""
    labelled = {name: folders[name] for name in ("data_dir", "eval_data_dir")}
    shutil.copy(tmp_path / "eval_data_dir/0/10.png", tmp_path / "unlabeled_dir" / "copy.png")
    tiny_network = [flag for flag in tiny.FLAGS if "batch_size" not in flag] + ["--batch_size=4"]

    def run(stage, name, *more, **data):
        given = [f"--{key}={value}" for key, value in data.items()]
        return cli.main([f"--stage={stage}", f"--run_dir={tmp_path / name}", "--image_size=8", *tiny_network, *given, *more])

    assert run("pretrain", "pre", data_dir=folders["unlabeled_dir"]) == 0
    start = f"--from={tmp_path / 'pre'}"
    assert run("finetune", "fine", start, **labelled) == 2
    said = capsys.readouterr().err
    assert "must be new to the earlier stages" in said and "10.png" in said and str(tmp_path / "pre") in said
    assert not (tmp_path / "fine" / "config.json").exists()
    assert run("finetune", "fine", start, "--allow_overlap", **labelled) == 0
    # Two stages back it is found as well, also where the weights are gone by then; and a clean set is not.
    kept = (tmp_path / "pre" / "checkpoints").rename(tmp_path / "kept")
    assert run("distill", "student", f"--from={tmp_path / 'fine'}", "--noallow_overlap", **labelled) == 2
    kept.rename(tmp_path / "pre" / "checkpoints")
    (tmp_path / "eval_data_dir/0/10.png").write_bytes(images.encode(255 - PIXELS[10]))
    assert run("finetune", "clean", start, **labelled) == 0
    # What an earlier run trained on as well is known also where that was moved.
    assert run("distill", "same", f"--from={tmp_path / 'clean'}", **labelled) == 0
    (tmp_path / "clean").rename(tmp_path / "moved")
    trained = [f"--data_dir={folders['unlabeled_dir']}", f"--eval_data_dir={folders['data_dir']}"]
    capsys.readouterr()
    assert cli.main(["--stage=evaluate", f"--from={tmp_path / 'same'}", f"--run_dir={tmp_path / 'score'}", *trained]) == 2
    assert "must be new to the earlier stages" in capsys.readouterr().err
    record_property("outcome", "an evaluation image that the pretraining saw, in a run of its own: named, exit 2; a clean set: trained")
