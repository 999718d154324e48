"""The score of a pretraining, run for real on tiny IDX files."""

import pathlib
import re

import pytest
import tiny
from data.sources import write_idx_directory

from tf_simclr.data import idx
from tf_simclr.errors import UsageError

TOOLS = pathlib.Path(__file__).parents[2] / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import score_pretraining

    return score_pretraining


def test_scores_every_layer_on_images_that_nothing_trains_on(tool, tmp_path, capsys, short_resnet):
    write_idx_directory(tmp_path, *tiny.images(96, 0), splits=["train"])
    arguments = ["--source", str(tmp_path), "--per_class=20", "--scored=12", "--draws=3", *tiny.FLAGS]
    tool.main([*arguments, "--methods=linear_eval", "--label_seeds=1", f"--run_dir={tmp_path / 'run'}"])
    told = capsys.readouterr().out
    found = re.findall(r"^(pooled features|head layer \d) +([\d.]+) ± [\d.]+ % over 3 draws$", told, re.MULTILINE)
    assert [name for name, _ in found] == ["pooled features", "head layer 1", "head layer 2", "head layer 3"]
    assert float(found[0][1]) > 60  # of three classes that a linear classifier tells apart, on random features
    assert re.search(r"^linear_eval +\S", told, re.MULTILINE)
    with pytest.raises(UsageError, match="--run_dir must be given"):
        tool.main(arguments)


def test_the_baseline_alone_is_run_without_a_pretraining(tool, tmp_path, capsys, short_resnet):
    write_idx_directory(tmp_path, *tiny.images(96, 0), splits=["train"])
    arguments = ["--source", str(tmp_path), "--per_class=20", "--scored=12", *tiny.FLAGS, "--methods=supervised", "--label_seeds=1"]
    tool.main([*arguments, f"--run_dir={tmp_path / 'run'}"])
    told = capsys.readouterr().out
    assert re.search(r"^supervised +\S", told, re.MULTILINE) and "pooled features" not in told


def test_no_image_is_on_both_sides(tool, tmp_path):
    pixels, labels = tiny.images(30, 0)
    pixels[:, 0, 0] = range(30)  # tells which image it is
    write_idx_directory(tmp_path, pixels, labels, splits=["train"])
    data = tool.split(idx.read(tmp_path, "train"), 4, 3)
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(12)) and data.evaluation.images[:, 0, 0, 0].tolist() == list(range(12, 21))
    data = tool.split(idx.read(tmp_path, "train"), 4, 3, rest=True)
    assert data.train.images[:, 0, 0, 0].tolist() == [*range(12), *range(21, 30)] and len(data.evaluation) == 9
