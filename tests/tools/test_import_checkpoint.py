"""The import of released weights, run for real as a process."""

import json
import pathlib
import subprocess
import sys

import released

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "import_checkpoint.py"


def call(*arguments):
    return subprocess.run([sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True)


def test_the_command_makes_a_run_and_says_what_went_where(tmp_path):
    layers = released.encoder_layers(10, 0.0625, stem="cifar")
    named = released.values(released.shapes(layers, (64, 64, 8), 2))
    released.write_checkpoint(tmp_path, named | {"global_step": named["head_supervised/linear_layer/dense/bias"]})
    (tmp_path / "names.txt").write_text("\ufeffcat\nan owl\n")  # as some editors begin a file
    told = call(f"--checkpoint={tmp_path}", f"--run_dir={tmp_path / 'run'}", f"--class_names={tmp_path / 'names.txt'}")
    assert told.returncode == 0, told.stderr
    parameters = sum(value.size for name, value in named.items() if "/nl_" not in name)
    first, *rows, last = told.stdout.splitlines()
    assert first == "TF1 checkpoint: ResNet-10, width 0.0625, cifar stem, 3 head layers, selector 0, 2 classes"
    assert [row.split(maxsplit=2) for row in rows] == [
        ["restored", "67", f"{parameters:,} parameters"],
        ["missing", "0"],
        ["skipped", "1", "number of training steps"],
        ["unused", "14", "head layer behind the classifier's"],
    ]
    assert last == f"a finished run of finetune: use it with --from={tmp_path / 'run'}"
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["settings"]["stage"] == "finetune" and facts["class_names"] == ["cat", "an owl"] and facts["selector"] == 0
    assert (tmp_path / "run" / "done.json").exists() and (tmp_path / "run" / "report" / "import.json").exists()


def test_what_cannot_be_is_said_in_one_line(tmp_path):
    told = call(f"--checkpoint={tmp_path}", f"--run_dir={tmp_path / 'run'}", f"--class_names={tmp_path / 'names.txt'}")
    assert told.returncode == 2 and told.stderr.count("\n") == 1
    assert told.stderr.startswith("import_checkpoint.py: error: --class_names must be a text file")
