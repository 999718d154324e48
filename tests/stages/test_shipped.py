"""The run that ships with the package."""

import numpy as np
import pytest
import tiny

import tf_simclr
from tf_simclr import durable, shipped
from tf_simclr.config import Config, replace
from tf_simclr.data import from_arrays, load_data
from tf_simclr.errors import UsageError
from tf_simclr.export.load import read_card
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import setup


def test_it_is_whole_and_small():
    home = shipped.locate("pretrained:fashion_mnist")
    durable.check(home / "export")
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 2e6


def test_as_a_layer_and_as_a_run_it_is_one_network():
    loaded = tf_simclr.pretrained("fashion_mnist")
    network = setup.load_network(RunDirectory(shipped.locate("pretrained:fashion_mnist")))
    images = load_data(replace(Config(), data__dataset="fashion_mnist_8k").data).evaluation.images[:20] / np.float32(255)
    for selector, features in enumerate(network(images)["features"]):
        np.testing.assert_allclose(loaded(images, selector=selector), features, atol=1e-5)
    with pytest.raises(UsageError, match="must name a run that ships, fashion_mnist, got 'nothing'"):
        tf_simclr.pretrained("nothing")


@pytest.mark.smoke
def test_its_features_tell_garments_apart(tmp_path):
    """From 100 labels, on 500 test images: a network at random is at half of that (and chance at 10 %)."""
    whole = load_data(replace(Config(), data__dataset="fashion_mnist_8k").data)
    test = whole.evaluation
    data = from_arrays(whole.train.images, whole.train.labels, test.images[:500], test.labels[:500], whole.train.class_names)
    settings = replace(Config(), stage="linear_eval", from_run="pretrained:fashion_mnist", run_dir=str(tmp_path), data__labels_per_class=10)
    assert tf_simclr.run(settings, data)["accuracy"] > 65


def test_what_cannot_be_done_with_it():
    with pytest.raises(UsageError, match="must name a run that ships, fashion_mnist, got 'nothing'"):
        tf_simclr.run(replace(tiny.settings("finetune", "x"), from_run="pretrained:nothing"), tiny.data())
    with pytest.raises(UsageError, match="needs --run_dir"):
        tf_simclr.run(replace(Config(), stage="export", from_run="pretrained:fashion_mnist"))


def test_a_method_that_starts_from_it_needs_no_pretraining(tmp_path):
    whole = load_data(replace(Config(), data__dataset="fashion_mnist_8k").data)
    test = whole.evaluation
    data = from_arrays(whole.train.images[:500], whole.train.labels[:500], test.images[:100], test.labels[:100], whole.train.class_names)
    settings = replace(Config(), stage="pipeline", methods="finetune_shipped", run_dir=str(tmp_path), data__labels_per_class=2)
    # What would be pretrained here is another network, and leaves that one as it is.
    settings = replace(settings, finetune__steps=2, finetune__batch_size=20, model__depth=18, model__width=0.5)
    result = tf_simclr.run(settings, data)
    assert RunDirectory(tmp_path / "finetune_shipped_1").spec().width == 0.25
    assert [row["method"] for row in result["rows"]] == ["finetune_shipped"] and not (tmp_path / "pretrain").exists()
    card = read_card(tmp_path / "export")
    pretraining, finetuning = card["history"]
    assert (pretraining["stage"], finetuning["stage"], pretraining["data"]["images"]) == ("pretrain", "finetune", 60_000)
    given = {"dataset": "in_memory", "eval_on": "test", "labels_per_class": 2}
    assert finetuning["settings"] == {"data": given, "finetune": {"steps": 2, "batch_size": 20}}
    assert pretraining["settings"]["data"] == {"dataset": "idx", "eval_on": "test"}, "labels decide nothing there"
    low, high = card["evaluation"]["interval"]
    assert low < card["evaluation"]["top1"] < high and card["evaluation"]["split"] == "test"
    with pytest.raises(UsageError, match="must name a run that ships, fashion_mnist, got 'nothing'"):
        tf_simclr.run(replace(settings, shipped="nothing", run_dir=str(tmp_path / "other")), data)
