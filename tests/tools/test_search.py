"""The search for settings, run for real on a tiny file of arrays."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tiny

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "search.py"


def test_the_search_scores_on_a_holdout_and_ranks(tmp_path, monkeypatch, capsys, caplog, short_resnet):
    monkeypatch.syspath_prepend(str(TOOL.parent))
    import search

    images, labels = tiny.images(60, 0)
    np.savez(tmp_path / "arrays.npz", images=images, labels=labels)
    flags = ["--stage=finetune", "--dataset=npz", f"--data_dir={tmp_path / 'arrays.npz'}", "--labels_per_class=5", "--steps=40"]
    flags += ["--depth=10", "--width=0.0625", "--stem=cifar2", "--optimizer=adamw", "--lr_scaling=none", "--batch_size=15", "--flip=0"]
    search.main([*flags, "--grid", "learning_rate=1e-9,1e30,0.03", "--label_seeds=1,2", f"--out={tmp_path / 'out'}"])
    told = capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "search.json").read_text())["rows"]
    assert [row["settings"]["learning_rate"] for row in rows] == ["0.03", "1e-9", "1e30"]
    # It is not the end of the search that one diverges.
    assert "learning_rate=1e30_seed=1 has no checkpoint yet: lower the learning rate" in caplog.text
    assert rows.pop() | {"settings": None} == {"settings": None, "mean": None, "std": 0.0, "by_seed": {"1": None}}
    assert "diverged   learning_rate 1e30" in told.splitlines()[-1]
    assert rows[0]["mean"] > rows[1]["mean"] and rows[0]["mean"] == pytest.approx(np.mean(list(rows[0]["by_seed"].values())))
    assert told.splitlines()[-3].startswith(f"{rows[0]['mean']:6.2f}")
    run = json.loads((tmp_path / "out" / "learning_rate=0.03_seed=1" / "config.json").read_text())
    assert run["settings"]["data"]["eval_on"] == "holdout" and run["data"]["evaluation_images"] > 0


@pytest.mark.parametrize(
    "flags, words",
    [
        # A flag with a section's name, as a recipe has it, wins over a plain one: the search would compare a setting with itself.
        (["--stage=finetune", "--supervised_steps=5", "--grid", "steps=5,10"], "name the section in --grid"),
        (["--stage=pretrain", "--grid", "pretrain_temperature=0.5,1"], "--stage must be one that trains a classifier"),
        (["--stage=finetune", "--grid", "steps=5,10", "--label_seeds=1,b"], "argument --label_seeds: invalid numbers value: '1,b'"),
    ],
)
def test_a_grid_that_says_nothing_is_refused(flags, words):
    told = subprocess.run([sys.executable, str(TOOL), *flags, "--out=unused"], capture_output=True, text=True)
    assert told.returncode == 2 and words in told.stderr and "Traceback" not in told.stderr
