"""Which data a stage works on: what is given, else the earlier run's; and what is given in Python is remembered as such."""

import dataclasses
import json
import types

import numpy as np
import pytest
import tiny

import tf_simclr
from tf_simclr.cli import parse
from tf_simclr.config import Config, ModelConfig, replace
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages.setup import check_export, with_data_of

EARLIER = {"dataset": "tfrecord", "data_dir": "shards", "label_feature": "colour", "max_bad_fraction": 0.5, "allow_overlap": True}


def inherited(flags, given=None, **earlier):
    """The data settings of a stage with these flags that starts from a run with EARLIER ones and those named."""
    before = replace(Config(), **{f"data__{name}": value for name, value in (EARLIER | {"eval_on": "test"} | earlier).items()})
    parent = types.SimpleNamespace(config=lambda: before)
    return with_data_of(parse(["--stage=finetune", "--from=x", *flags]), parent, given).data


@pytest.mark.parametrize(
    ("flags", "earlier", "expected"),
    [
        ([], {"eval_on": "holdout", "holdout_fraction": 0.25}, {**EARLIER, "eval_on": "holdout", "holdout_fraction": 0.25}),
        (["--label_feature=shape"], {}, {"label_feature": "shape", "data_dir": "shards"}),
        (["--label_feature=image/class/label"], {}, {"label_feature": "image/class/label"}),
        (["--noallow_overlap", "--max_bad_fraction=0.01"], {}, {"allow_overlap": False, "max_bad_fraction": 0.01}),
        (["--holdout_fraction=0.5"], {"eval_on": "holdout"}, {"eval_on": "holdout", "holdout_fraction": 0.5}),
        (["--eval_data_dir=new"], {"eval_on": "holdout"}, {"eval_data_dir": "new", "eval_on": "test"}),
        (["--eval_on=holdout"], {"eval_data_dir": "old"}, {"eval_data_dir": "", "eval_on": "holdout"}),
        (["--eval_data_dir="], {"eval_data_dir": "old"}, {"eval_data_dir": "", "eval_on": "test"}),
        (["--eval_on=auto"], {"eval_on": "holdout"}, {"eval_on": "holdout"}),
        (["--data_dir=x.npz"], {"eval_on": "holdout"}, {"dataset": "npz", "eval_on": "test", "label_feature": "image/class/label"}),
    ],
)
def test_what_is_given_replaces_what_is_inherited(flags, earlier, expected):
    found = inherited(flags, **earlier)
    assert {name: getattr(found, name) for name in expected} == expected


def test_data_given_in_python_are_remembered_as_such():
    whole, training = tiny.data(), tiny.data(evaluation=0)
    assert (inherited([], whole, eval_on="holdout").dataset, inherited([], whole, eval_on="holdout").eval_on) == ("in_memory", "test")
    held = inherited([], training, eval_on="holdout", holdout_fraction=0.25)
    assert (held.dataset, held.data_dir, held.eval_on, held.holdout_fraction) == ("in_memory", "", "holdout", 0.25)
    assert inherited([], tiny.data(labelled=False), eval_on="holdout").eval_on == "test", "nothing can be held out"
    assert inherited(["--dataset=idx"], whole).dataset == "idx", "the user's name for them"


def test_a_stage_holds_out_of_given_images_and_later_ones_ask_for_them(tmp_path, short_resnet):
    short = {"supervised__steps": 2, "data__labels_per_class": 4, "data__eval_on": "holdout", "data__holdout_fraction": 0.25}
    tf_simclr.run(tiny.settings("finetune", tmp_path / "run", **short), tiny.data(evaluation=0))
    assert RunDirectory(tmp_path / "run").facts()["data"]["evaluation_images"] == 24
    # A run that an earlier version recorded as one of the bundled images goes on.
    recorded = tmp_path / "run" / "config.json"
    recorded.write_text(recorded.read_text().replace('"in_memory"', '"fashion_mnist_8k"'))
    result = RunDirectory(tmp_path / "run").result
    assert tf_simclr.run(tiny.settings("finetune", tmp_path / "run", **short), tiny.data(evaluation=0)) == result
    assert "fashion_mnist_8k" not in recorded.read_text()
    with pytest.raises(UsageError, match="images must be given in Python again"):
        tf_simclr.run(tiny.settings("evaluate", "", from_run=str(tmp_path / "run")))
    scores = tf_simclr.run(tiny.settings("evaluate", "", from_run=str(tmp_path / "run")), tiny.data())
    assert (scores["images"], scores["split"]) == (48, "test")
    again = tf_simclr.run(tiny.settings("evaluate", "", from_run=str(tmp_path / "run")), tiny.data(evaluation=0))
    assert (again["images"], again["split"]) == (24, "holdout")


def test_a_selector_is_not_compared_with_the_default_head_where_there_is_an_earlier_run():
    assert parse(["--stage=finetune", "--from=x", "--selector=4"]).finetune.selector == 4
    with pytest.raises(UsageError, match="finetune_selector must be at most head_layers=3, got 4"):
        parse(["--stage=pipeline", "--finetune_selector=4"])


@pytest.mark.parametrize(
    ("width", "message"), [("0.25", "--depth must be that of .*, 10, got 50"), ("0.125", "--channels must be that of")]
)
def test_an_export_is_of_its_own_architecture_or_a_students(tmp_path, width, message):
    """Of a student, what makes it another network than its teacher decides nothing."""
    stage = {"stage": "distill", "settings": {"student": {"width": 0.125}} if width == "0.125" else {}}
    card = {"architecture": dataclasses.asdict(ModelConfig(depth=10, width=float(width), channels=1)), "history": [stage]}
    (tmp_path / "model_card.json").write_text(json.dumps(card))
    check_export(parse(["--stage=predict", "--depth=10", f"--width={width}"]), tmp_path)
    with pytest.raises(UsageError, match=message):
        check_export(parse(["--stage=predict", "--depth=50", "--channels=3"]), tmp_path)


@pytest.mark.parametrize("kind", [np.uint64, np.uint8, np.int32])
def test_labels_of_any_whole_numbers(kind):
    images, labels = tiny.images(12, 0)
    assert tf_simclr.from_arrays(images, labels.astype(kind)).train.class_names == ("0", "1", "2")
