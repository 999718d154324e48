"""The score of a pretraining, run for real as a process on tiny IDX files."""

import pathlib
import re
import subprocess
import sys

import tiny
from data.sources import write_idx_directory

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "score_pretraining.py"


def test_scores_every_layer_on_images_that_nothing_trains_on(tmp_path):
    write_idx_directory(tmp_path, *tiny.images(96, 0), splits=["train"])
    command = [sys.executable, str(TOOL), "--source", str(tmp_path), "--per_class=20", "--scored=12", "--draws=3", *tiny.FLAGS]
    more = ["--methods=linear_eval", "--label_seeds=1", f"--run_dir={tmp_path / 'run'}"]
    told = subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^(pooled features|head layer \d) +([\d.]+) ± [\d.]+ % over 3 draws$", told, re.MULTILINE)
    assert [name for name, _ in found] == ["pooled features", "head layer 1", "head layer 2", "head layer 3"]
    assert float(found[0][1]) > 60  # of three classes that a linear classifier tells apart, on random features
    assert re.search(r"^linear_eval +\S", told, re.MULTILINE)
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1 and "--run_dir must be given" in refused.stderr


def test_no_image_is_on_both_sides(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    import score_pretraining

    from tf_simclr.data import idx

    pixels, labels = tiny.images(30, 0)
    pixels[:, 0, 0] = range(30)  # tells which image it is
    write_idx_directory(tmp_path, pixels, labels, splits=["train"])
    data = score_pretraining.split(idx.read(tmp_path, "train"), 4, 3)
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(12)) and data.evaluation.images[:, 0, 0, 0].tolist() == list(range(12, 21))
    data = score_pretraining.split(idx.read(tmp_path, "train"), 4, 3, rest=True)
    assert data.train.images[:, 0, 0, 0].tolist() == [*range(12), *range(21, 30)] and len(data.evaluation) == 9
