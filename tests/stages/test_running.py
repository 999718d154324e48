"""Interruption and resume, replicas, the pipeline and the command line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny
from PIL import Image

import tf_simclr
from tf_simclr.cli import main, parse
from tf_simclr.config import ModelConfig, replace
from tf_simclr.errors import UsageError
from tf_simclr.run_directory import RunDirectory
from tf_simclr.stages import setup
from tf_simclr.training.callbacks import MetricLines

pytestmark = pytest.mark.usefixtures("short_resnet")


def weights(run):
    return setup.load_network(RunDirectory(run)).get_weights()


def test_a_run_that_another_version_began_says_so(tmp_path, caplog):
    settings = tiny.settings("pretrain", tmp_path / "run", pretrain__steps=2)
    tf_simclr.run(settings, tiny.data())
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["versions"].pop("tf_simclr") == tf_simclr.__version__
    (tmp_path / "run" / "config.json").write_text(json.dumps(facts | {"versions": {"tf_simclr": "0.0.7"}}))
    tf_simclr.run(settings, tiny.data())
    assert "was begun" not in caplog.text, "it is finished"
    facts["versions"]["tf_simclr"] = "0.0.7"
    (tmp_path / "run" / "config.json").write_text(json.dumps(facts))
    (tmp_path / "run" / "done.json").unlink()
    tf_simclr.run(settings, tiny.data())
    assert f"was begun by tf_simclr 0.0.7 and goes on by {tf_simclr.__version__}" in caplog.text


def test_a_resumed_run_is_the_same_run(tmp_path, monkeypatch):
    """Stopped at step 63, three steps after a checkpoint and inside a report, and started again: the same weights bit for bit."""
    rare = {"checkpoint_every": 10, "keep_checkpoints": 1, "pretrain__probe_every": 0.0}
    whole, broken = (tiny.settings("pretrain", tmp_path / name, **rare) for name in ("whole", "broken"))
    tf_simclr.run(whole, tiny.data())

    real = MetricLines.on_epoch_end

    def stop_after_three(self, epoch, logs=None):
        real(self, epoch, logs)
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(MetricLines, "on_epoch_end", stop_after_three)
        tf_simclr.run(broken, tiny.data())
    assert RunDirectory(tmp_path / "broken").result is None
    # As if the first process had taken a thousand seconds longer.
    metrics = RunDirectory(tmp_path / "broken").metrics
    slow = [json.loads(line) for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps(line | {"seconds": line["seconds"] + 1000}) + "\n" for line in slow))
    tf_simclr.run(broken, tiny.data())
    for a, b in zip(weights(tmp_path / "whole"), weights(tmp_path / "broken")):
        np.testing.assert_array_equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "broken" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [21, 42, 63, 84]
    assert lines[2]["minutes_left"] > lines[3]["minutes_left"] == 0, "the epoch that was stopped is not the last one"
    # The seconds are those of both processes, in the result as well; and a result that was lost is found again.
    assert lines[-1]["seconds"] > lines[-2]["seconds"] > 1000
    result = RunDirectory(tmp_path / "broken").result
    assert result["seconds"] > lines[-1]["seconds"]
    (tmp_path / "broken" / "done.json").unlink()
    again = tf_simclr.run(broken, tiny.data())
    assert again.pop("seconds") > lines[-1]["seconds"] and again == {key: x for key, x in result.items() if key != "seconds"}


def test_what_makes_a_run_another_one(tmp_path):
    started = {"model": {}, "selector": 1, "class_names": ["a", "b"], "label_indices": [0], "versions": {}}
    started |= {"data": {"images": 2, "fingerprint": "f", "evaluation_fingerprint": "e"}, "parent": {"path": "runs/pre", "identity": "i"}}
    config = tiny.settings("finetune", tmp_path, from_run="runs/pre", data__dataset="folder", data__data_dir="in", data__eval_data_dir="ev")
    RunDirectory(tmp_path).start(config, started)

    def refused(words, facts=started, writes=True, **changes):
        with pytest.raises(UsageError, match=f"holds a run with other settings: {words}"):
            RunDirectory(tmp_path, writes).start(replace(config, **changes), facts)

    # The same weights and images, wherever they lie by now.
    moved = {"from_run": "/moved/runs/pre", "data__data_dir": "/moved/in/", "data__eval_data_dir": "/moved/ev"}
    RunDirectory(tmp_path).start(replace(config, **moved), started)
    other = started["data"] | {"evaluation_fingerprint": "x"}
    refused("data.evaluation_fingerprint was 'e' and is 'x'", started | {"data": other}, **moved)
    refused("the weights of --from are no longer those", started | {"parent": {"path": "runs/pre", "identity": "j"}}, **moved)
    refused(".*from_run was '/moved/runs/pre' and is ''", started | {"parent": None}, from_run="")
    refused("data.data_dir was '/moved/in/' and is 'in'; data.eval.*; data.evaluation_fingerprint was 'e'", started | {"data": other})
    refused("seed was 1 and is 2", seed=2)
    refused("seed was 1 and is 2", seed=2, writes=False)  # a worker that writes nothing would else take the old result for its own
    # As an earlier version recorded it: what was evaluated on is not known but for its name.
    known = json.loads((tmp_path / "config.json").read_text())
    del known["data"]["evaluation_fingerprint"]
    (tmp_path / "config.json").write_text(json.dumps(known))
    RunDirectory(tmp_path).start(replace(config, **moved), started | {"data": known["data"]})
    refused("data.eval_data_dir was '/moved/ev' and is 'other'", **moved | {"data__eval_data_dir": "other"})
    RunDirectory(tmp_path).start(replace(config, **moved), started)
    assert json.loads((tmp_path / "config.json").read_text())["data"] == started["data"]


@pytest.mark.smoke
def test_two_replicas_end_where_one_ends(tmp_path):
    # Small steps, in which rounding grows little; unsynchronised statistics or negatives make 0.09 of them.
    gentle = {"pretrain__optimizer": "sgd", "pretrain__learning_rate": 0.001, "pretrain__epochs": 1.0, "pretrain__probe_every": 0.0}
    for strategy in ("one", "mirrored"):
        tf_simclr.run(tiny.settings("pretrain", tmp_path / strategy, strategy=strategy, **gentle), tiny.data())
    for a, b in zip(weights(tmp_path / "one"), weights(tmp_path / "mirrored")):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adamw", "lamb"])
def test_every_optimizer_trains_a_stage(tmp_path, optimizer):
    if optimizer == "lamb":
        pytest.importorskip("tensorflow_addons")
    changes = {"supervised__optimizer": optimizer, "supervised__epochs": 80.0}
    if optimizer in ("lars", "sgd"):
        changes |= {"supervised__learning_rate": {"lars": 1.0, "sgd": 0.05}[optimizer]}
    tf_simclr.run(tiny.settings("finetune", tmp_path / "run", **changes), tiny.data())
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("augment", ["crop_flip", "randaugment", "simclr"])
def test_every_augmentation_trains_two_steps(tmp_path, augment):
    settings = tiny.settings("finetune", tmp_path / "run", supervised__augment=augment, supervised__steps=2)
    assert np.isfinite(tf_simclr.run(settings, tiny.data())["accuracy"])
    assert json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 2


@pytest.fixture
def folder(tmp_path):
    """Class folders of PNG files for training, and of WebP files, which no export reads, for evaluation."""
    for split, count, seed in (("train", 48, 0), ("eval", 24, 1)):
        for i, (pixels, label) in enumerate(zip(*tiny.images(count, seed))):
            path = tmp_path / split / tiny.CLASSES[label] / f"{i}.{'webp' if split == 'eval' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, lossless=True)
    return tmp_path


@pytest.mark.smoke
def test_the_pipeline_from_the_command_line_on_a_folder(folder, capsys):
    flags = folder / "recipe.flags"
    lines = ["stage=pipeline", "dataset=folder", f"data_dir={folder / 'train'}", f"eval_data_dir={folder / 'eval'}", "labels_per_class=6"]
    lines += ["label_seeds=1,2", "depth=10", "width=0.0625", "stem=cifar2", "optimizer=adamw", "lr_scaling=none", "learning_rate=0.01"]
    lines += ["batch_size=16", "flip=0", "steps=6", "pretrain_probe_every=0", "methods=linear_eval,supervised", f"run_dir={folder / 'run'}"]
    flags.write_text("# a tiny recipe\n" + "".join(f"--{line}\n" for line in lines))
    assert main([f"--flagfile={flags}"]) == 0
    printed = capsys.readouterr().out
    rows = json.loads((folder / "run" / "report" / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["supervised", "linear_eval"]
    for row in rows:
        assert set(row) == {"method", "labels", "parameters", "accuracy", "std", "by_seed", "seconds"}
        assert set(row["by_seed"]) == {"1", "2"} and row["labels"] == 18 and row["method"] in printed
        assert row["accuracy"] == pytest.approx(np.mean(list(row["by_seed"].values())))
    assert (folder / "run" / "report" / "results.png").exists()
    # The printed line classifies an image, in a process without this package.
    line = printed.strip().splitlines()[-1]
    said = subprocess.run(line, shell=True, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] in tiny.CLASSES and 0 < float(said[1]) <= 1
    # Run again, everything is recognised as done.
    before = {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*.index")}
    assert main([f"--flagfile={flags}"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "run").rglob("*.index")}


@pytest.mark.parametrize("stage", ["inspect", "preview", "pretrain", "finetune", "pipeline"])
@pytest.mark.parametrize("place", ["data_dir", "unlabeled_dir", "eval_data_dir"])
def test_no_run_is_kept_among_the_images(folder, stage, place, monkeypatch, capsys):
    """Its pictures would be trained on next time; a directory below the working one is the default."""
    monkeypatch.chdir(folder)
    places = {"data_dir": "train", "eval_data_dir": "eval", place: "."}
    assert main([f"--stage={stage}", *(f"--{name}={path}" for name, path in places.items())]) == 2
    said = capsys.readouterr().err
    assert f"got runs/folder/{stage} below --{place}=.; give another --run_dir" in said and said.count("\n") == 1
    assert not (folder / "runs").exists()


def test_a_run_among_the_images_goes_on_and_a_hidden_one_is_none_of_them(folder, monkeypatch):
    monkeypatch.chdir(folder / "train" / "left")
    flags = [*tiny.FLAGS, "--stage=pretrain", "--data_dir=.", "--image_size=8"]
    assert main([*flags, "--run_dir=.runs/pre"]) == main([*flags, "--run_dir=../../pre"]) == 0
    (folder / "pre").rename(folder / "train" / "left" / "pre")
    assert main([*flags, "--run_dir=pre"]) == 0


def test_a_pipeline_starts_from_an_earlier_pretraining(tmp_path):
    """Everything has that run's architecture and needs no flag for it; run again, it is recognised as done."""
    short = {"pretrain__steps": 1, "pretrain__probe_every": 0.0, "supervised__steps": 1, "finetune__steps": 1}
    tf_simclr.run(tiny.settings("pretrain", tmp_path / "before", **short), tiny.data())
    settings = replace(
        tiny.settings("pipeline", tmp_path / "run", from_run=str(tmp_path / "before"), methods="supervised,finetune", **short),
        model=ModelConfig(),
    )
    result = tf_simclr.run(settings, tiny.data())
    assert [row["method"] for row in result["rows"]] == ["supervised", "finetune"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if (path / "done.json").exists()) == ["finetune_1", "supervised_1"]
    of_method = [RunDirectory(tmp_path / "run" / name).facts() for name in ("finetune_1", "supervised_1")]
    assert [facts["parent"] and facts["parent"]["path"] for facts in of_method] == [str(tmp_path / "before"), None]
    assert [facts["model"] for facts in of_method] == [RunDirectory(tmp_path / "before").facts()["model"]] * 2
    # How it would have pretrained decides nothing.
    assert tf_simclr.run(replace(settings, pretrain__temperature=0.7), tiny.data()) == result
    with pytest.raises(UsageError, match="queue does nothing in --stage=pipeline"):
        parse(["--stage=pipeline", "--from=x", "--queue=8"])


def test_the_library_defines_no_flag():
    """In a process of its own: what other tests import must not matter."""
    code = (
        "from absl import flags; before = set(flags.FLAGS);"
        "import tf_simclr, tf_simclr.stages, tf_simclr.data, tf_simclr.config; from tf_simclr.stages import pretrain, pipeline;"
        "assert not [f for f in set(flags.FLAGS) - before if 'tf_simclr' in str(flags.FLAGS.find_module_defining_flag(f))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
