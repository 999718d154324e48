"""The model card: what runs tell of a network, and how a person reads it."""

import json

import pytest
import tiny

from tf_simclr.config import Config, replace
from tf_simclr.export import card
from tf_simclr.run_directory import RunDirectory

FACTS = {"model": {}, "selector": 1, "data": {"images": 96, "fingerprint": "f" * 64}, "versions": {"tensorflow": "2.15"}}


def run_of(path, stage, class_names=(), labels=None, **changes):
    """A finished run of that stage, as far as a card reads it."""
    run = RunDirectory(path)
    run.start(
        tiny.settings(stage, path, data__labels_per_class=0, **changes),
        {**FACTS, "class_names": list(class_names), "label_indices": labels, "parent": None},
    )
    run.finish({"seconds": 1.0})
    return run


@pytest.fixture
def finetuned(tmp_path):
    run_of(tmp_path / "first", "pretrain", pretrain__temperature=0.25)
    run = run_of(tmp_path / "second", "finetune", ["a_b", "c"], [3, 4], from_run=str(tmp_path / "first"), seed=7)
    run.report.mkdir()
    classes = [{"name": "a_b", "images": 50, "accuracy": 0.9}, {"name": "c", "images": 50, "accuracy": None}]
    scores = {
        "images": 100,
        "top1": 0.9,
        "balanced_accuracy": 0.85,
        "ece": 0.125,
        "per_class": classes,
        "split": "holdout",
        "confusion": [[1]],
    }
    (run.report / "evaluation.json").write_text(json.dumps(scores))
    return run


def written(described, **changes):
    """What an export adds to it."""
    architecture = {"depth": 10, "width": 0.25, "sk": False, "backbone": ""}
    own = {"image_size": 28, "channels": 1, "selector": 1, "parameters": 1234, "limits": {"max_batch": 2048}}
    own |= {"class_names": ["a_b", "c"], "architecture": architecture, "versions": {"tf_simclr": "0.1.0"}}
    return own | described | changes


def test_what_runs_tell(finetuned):
    found = card.describe(finetuned, replace(Config(), license="Apache-2.0"))
    first, second = found["history"]
    assert (first["stage"], first["labels"], second["stage"], second["labels"]) == ("pretrain", None, "finetune", 2)
    assert first["settings"]["pretrain"]["temperature"] == 0.25 and "temperature" not in second["settings"].get("finetune", {})
    assert second["settings"]["run"] == {"seed": 7} and "pretrain" not in second["settings"]
    assert (found["run"], found["license"], found["data_license"]) == ("second", "Apache-2.0", "not stated")
    # Wilson's interval of 90 in 100, from its formula: centre 0.8852, half width 0.0595.
    assert found["evaluation"]["interval"] == pytest.approx([0.8256, 0.9448], abs=1e-4)
    assert "confusion" not in found["evaluation"]
    assert "/" not in json.dumps(found), "where files lay"


def go_elsewhere(first, run):
    first.rename(first.with_name("elsewhere"))


def leave_nothing(first, run):
    go_elsewhere(first, run)
    first.mkdir()


def train_anew(first, run):
    facts = json.loads((run.path / "config.json").read_text()) | {"parent": {"path": str(first), "identity": "that of another training"}}
    (run.path / "config.json").write_text(json.dumps(facts))


@pytest.mark.parametrize("change", [go_elsewhere, leave_nothing, train_anew])
def test_a_first_stage_that_is_no_longer_there(finetuned, change):
    change(finetuned.path.parent / "first", finetuned)
    found = card.describe(finetuned, Config())
    assert [stage["stage"] for stage in found["history"]] == ["unknown", "finetune"]
    assert "- unknown: none" in card.to_markdown(written(found))


def test_a_person_reads(finetuned):
    text = card.to_markdown(written(card.describe(finetuned, Config())))
    assert "A classifier of 2 classes: ResNet-10, width 0.25, 1 layers of the projection head, 1,234 parameters" in text
    assert "| finetune |  | 96 | 2 | ffffffffffffffff |" in text and "seed 7" in text
    assert "On a hold-out of the training images, 100 of them." in text  # as the report says, whatever the run was scored on before
    assert "90.00 (95 %: 82.56 to 94.48)" in text and "| a_b | 50 | 90.0 |" in text and "| c | 50 |  |" in text
    assert "Weights: not stated. Training data: not stated." in text and "| max_batch | 2,048 |" in text
    assert 'answer["class_name"]' in text


def test_a_network_of_no_run():
    text = card.to_markdown(written({}, class_names=[]))
    assert "An encoder: ResNet-10" in text and 'answer["features"]' in text and "Training" not in text
    assert '`arguments={"selector": 1}` those of the head\'s first layer.' in text
    assert "selector" not in card.to_markdown(written({}, selector=0))  # there is no such layer
