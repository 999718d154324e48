"""The command line: every flag, precedence, errors on one line, and an answer before TensorFlow could be loaded."""

import contextlib
import gc
import os
import pathlib
import resource
import subprocess
import sys

import numpy as np
import pytest

import tf_simclr
from tf_simclr import cli, stages
from tf_simclr.cli_flags import FITS, PLAIN, USES, build_flags, flag_name, overruled, read, shared_fields
from tf_simclr.cli_help import STAGE_HELP, help_text
from tf_simclr.config import METHODS, STAGES, TFLITE_KINDS, Config, replace, sections
from tf_simclr.errors import Interrupted, NotFiniteError, StorageError, UsageError, WorkerLostError
from tf_simclr.option import check, options

ALL_FIELDS = [(section, field) for section, part in sections(Config()).items() for field in options(part)]


def run_python(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60)


def another_value(field):
    """A valid value that is not the default, and that fits every other default."""
    special = {"methods": METHODS[0], "label_seeds": "4,2", "tflite": TFLITE_KINDS[0], "tpu": "local"}
    candidates = [*(field.metadata["choices"] or ()), special.get(field.name, "elsewhere"), True, False, 0.5, 0.25, 1, 2, 1.5]
    for value in candidates:
        if type(value) is field.type and value != field.default:
            try:
                check(field, value)
            except UsageError:
                continue
            return value
    return None


# Flags and fields


@pytest.mark.parametrize("section, field", ALL_FIELDS, ids=[flag_name(section, field) for section, field in ALL_FIELDS])
def test_every_flag_sets_its_field_and_no_other(section, field):
    value = another_value(field)
    if value is None:
        assert len(field.metadata["choices"]) == 1
        return
    key = f"{section}__{field.name}" if section else field.name
    assert cli.parse([f"--{flag_name(section, field)}={value}"]) == replace(Config(), **{key: value})


def test_no_arguments_mean_the_defaults():
    assert cli.parse([]) == Config()


def test_booleans_are_written_in_three_ways():
    assert cli.parse(["--sk"]).model.sk
    assert cli.parse(["--sk=true"]).model.sk
    assert not cli.parse(["--sk", "--nosk"]).model.sk


def test_a_value_may_follow_its_flag_as_an_argument():
    assert cli.parse(["--depth", "50"]).model.depth == 50


# Precedence


@pytest.mark.parametrize(
    "argv, taken_by",
    [
        (["--stage=pretrain"], {"pretrain"}),
        (["--stage=finetune"], {"supervised"}),
        (["--stage=finetune", "--from=runs/pre"], {"finetune"}),
        (["--stage=distill", "--from=runs/fine"], {"distill"}),
        (["--stage=distill", "--from=runs/fine", "--student_width=0.5"], {"student"}),
        (["--stage=distill", "--from=runs/fine", "--student_depth=10"], {"student"}),
        (["--stage=distill", "--from=runs/fine", "--student_backbone=keras_cv:resnet18"], {"student"}),
        (["--stage=pipeline"], set(FITS) - {"linear_eval", "embed"}),
    ],
)
def test_an_unprefixed_flag_is_for_what_the_stage_trains(argv, taken_by):
    before, after = sections(cli.parse(argv)), sections(cli.parse([*argv, "--steps=7"]))
    assert {name for name in FITS if before[name] != after[name]} == taken_by
    assert all(after[name].steps == 7 for name in taken_by)


@pytest.mark.parametrize("order", [1, -1])
def test_a_prefixed_flag_wins_wherever_it_stands(order):
    argv = ["--steps=7", "--student_steps=9"][::order]
    config = cli.parse(["--stage=pipeline", *argv])
    assert (config.distill.steps, config.student.steps) == (7, 9)


def test_a_flag_that_sets_nothing_is_named():
    """A recipe's `--distill_temperature` silently beat the `--temperature` of whoever ran it."""
    (line,) = overruled(read(["--stage=distill", "--from=runs/fine", "--distill_temperature=0.3", "--temperature=1", "--steps=7"]))
    assert "--temperature=1.0 does nothing" in line and "(--distill_temperature=0.3)" in line
    assert not overruled(read(["--stage=distill", "--from=runs/fine", "--finetune_steps=9", "--steps=7"]))
    # Of two sections one has its own: the other still takes it.
    assert not overruled(read(["--stage=pipeline", "--distill_temperature=0.3", "--temperature=1"]))


def test_a_flag_that_sets_nothing_is_logged_before_the_stage_runs(monkeypatch, capfd):
    monkeypatch.setattr(stages, "run", lambda config: None)
    assert cli.main(["--stage=distill", "--from=runs/fine", "--distill_steps=9", "--steps=7"]) == 0
    assert "--steps=7 does nothing" in capfd.readouterr().err


def test_the_last_of_one_flag_counts():
    assert cli.parse(["--depth=50", "--depth=34"]).model.depth == 34


def test_a_flag_file_counts_where_it_stands(tmp_path):
    recipe = tmp_path / "recipe.flags"
    recipe.write_text("# a recipe\n--depth=50\n\n--pretrain_steps=9\n")
    flagfile = f"--flagfile={recipe}"
    assert cli.parse(["--depth=34", flagfile]).model.depth == 50
    assert cli.parse([flagfile, "--depth=34"]).model.depth == 34
    assert cli.parse([flagfile, "--steps=7"]).pretrain.steps == 9


RECIPES = pathlib.Path(__file__).parents[1] / "flags"


@pytest.mark.parametrize("recipe", sorted(RECIPES.rglob("*.flags")), ids=lambda path: str(path.relative_to(RECIPES)))
def test_every_recipe_is_read(recipe):
    cli.parse([f"--flagfile={recipe}"])


# Help


def test_help_names_every_stage_and_every_flag():
    text = help_text(100)
    assert set(STAGE_HELP) == set(USES) == set(STAGES)
    for stage in STAGES:
        assert f"\n  {stage} " in text
    shared = shared_fields()
    for section, field in ALL_FIELDS:
        # A flag that exists with and without its section's name is listed without.
        unprefixed = section not in PLAIN and field.name in shared
        name = field.name if unprefixed else flag_name(section, field)
        assert f"\n  --{name}" in text or f"\n  --[no]{name}" in text, name
        assert section in PLAIN or section in text
    for name in ("help", "version", "debug", "flagfile"):
        assert f"\n  --{name}" in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_help_fits_the_terminal(width):
    too_wide = [line for line in help_text(width).splitlines() if len(line) > width]
    # Commands are not broken, so that they can be copied.
    assert all(line.lstrip().startswith("tf-simclr --") for line in too_wide)


@pytest.mark.parametrize("stage", STAGES)
def test_the_examples_of_the_help_are_commands_that_parse(stage):
    example = STAGE_HELP[stage][1].split()
    if not example[0].startswith("--flagfile"):
        assert cli.parse(example).stage == stage


# Errors: what was required, what was received, what to do


MISTAKES = {
    "mistyped flag": (["--stge=pretrain"], "unknown flag --stge; did you mean --stage?"),
    "beginning of a flag": (["--learn=1"], "unknown flag --learn; did you mean --learning_rate?"),
    "unlike any flag": (["--qqqq=1"], "unknown flag --qqqq; run tf-simclr --help"),
    "positional argument": (["pretrain"], "every argument must be a flag such as --stage=pretrain, got 'pretrain'"),
    "unknown stage": (["--stage=train"], "stage must be one of inspect, preview, pretrain, "),
    "not a whole number": (["--depth=deep"], "--depth=deep: must be a whole number"),
    "not a number": (["--width=wide"], "--width=wide: must be a number"),
    "not a truth value": (["--sk=maybe"], "--sk=maybe: must be true or false"),
    "no value": (["--depth"], "Missing value for flag --depth"),
    "not a choice": (["--depth=7"], "depth must be one of 10, 18, 34, 50, 101, 152, 200, got 7"),
    "out of bounds": (["--temperature=0"], "temperature must be above 0, got 0"),
    "a flag that the stage has no use for": (
        ["--stage=evaluate", "--temperature=1"],
        "--temperature does nothing in --stage=evaluate",
    ),
    "two ways to limit labels": (["--labels_per_class=1", "--num_labels=10"], "at most one of labels_per_class, num_labels"),
    "no such flag file": (["--flagfile=/no/such/file"], "--flagfile needs a file that can be read: "),
    "a directory as flag file": (["--flagfile=/"], "--flagfile needs a file that can be read: "),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_on_one_line_with_exit_code_2(mistake, capsys):
    argv, words = MISTAKES[mistake]
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tf-simclr: error: ") and words in err
    assert err.count("\n") == 1


def test_a_flag_file_that_is_no_text_is_refused(tmp_path, capsys):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert cli.main([f"--flagfile={tmp_path / 'binary'}"]) == 2
    assert "--flagfile needs a text file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv, named",
    [
        (["--dataset=cifar_ten"], "cifar_ten"),
        (["--dataset=folder", "--data_dir=/no/such/dir"], "/no/such/dir"),
        (["--dataset=npz", "--data_dir=/no/such/file.npz"], "/no/such/file.npz"),
        (["--dataset=tfds:cifar10", "--data_dir=/no/such/dir"], "/no/such/dir"),
        (["--stage=linear_eval", "--from=/no/such/run"], "/no/such/run"),
        (["--stage=evaluate"], "--from"),
        (["--stage=distill"], "--from"),
        (["--stage=export"], "--from"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_named_before_any_training(argv, named, capsys, tmp_path):
    assert cli.main([*argv, f"--run_dir={tmp_path / 'run'}"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("tf-simclr: error: ") and named in last
    assert not (tmp_path / "run" / "checkpoints").exists()


# Exit codes


def raising(error):
    def run(config):
        raise error

    return run


@pytest.mark.parametrize(
    "error, code, words",
    [
        (UsageError("images must be\nuint8, got int64"), 2, "tf-simclr: error: images must be uint8, got int64"),
        (RuntimeError("out of\nmemory"), 1, "tf-simclr: error: RuntimeError: out of memory (run again with --debug for the traceback)"),
        (NotFiniteError("the loss must be finite"), 3, "tf-simclr: error: the loss must be finite"),
        (StorageError("saving needs 5 bytes"), 4, "tf-simclr: error: saving needs 5 bytes"),
        (WorkerLostError("one is gone"), 42, "tf-simclr: error: one is gone"),
        (Interrupted("SIGTERM at step 3"), 42, "tf-simclr: stopped by SIGTERM at step 3; run the same command to go on"),
        (KeyboardInterrupt(), 130, "tf-simclr: interrupted"),
    ],
    ids=["usage", "unforeseen", "not finite", "storage", "worker", "signal", "interrupted"],
)
def test_an_error_of_a_stage_becomes_one_line_and_an_exit_code(error, code, words, monkeypatch, capsys):
    monkeypatch.setattr(stages, "run", raising(error))
    assert cli.main([]) == code
    assert capsys.readouterr().err.splitlines() == [words]


@pytest.mark.parametrize("error, code", [(UsageError("no"), 2), (RuntimeError("no"), 1)])
def test_debug_shows_the_traceback(error, code, monkeypatch, capsys):
    monkeypatch.setattr(stages, "run", raising(error))
    assert cli.main(["--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_a_stage_gets_the_settings(monkeypatch):
    received = []
    monkeypatch.setattr(stages, "run", received.append)
    assert cli.main(["--stage=pretrain", "--depth=34"]) == 0
    assert received == [replace(Config(), model__depth=34)]


@pytest.mark.parametrize("flags, refused", [([], True), (["--from=nowhere"], False), (["--dataset=npz"], False)])
def test_images_named_by_nothing_are_not_the_bundled_ones(flags, refused, capsys):
    assert cli.main(["--stage=pretrain", "--data_dir=", *flags]) == 2
    assert ("data_dir must be a path, got an empty one, as by a variable that is not set" in capsys.readouterr().err) == refused


@pytest.mark.parametrize("data", [[], ([], [])])
def test_data_of_another_kind_are_refused(data):
    with pytest.raises(UsageError, match="^data must be what from_arrays or from_dataset returns, got (list|tuple); pass it"):
        tf_simclr.run(Config(), data)


@pytest.mark.parametrize("place", ["data_dir", "unlabeled_dir", "eval_data_dir"])
def test_images_are_given_or_named_and_not_both(place):
    data = tf_simclr.from_arrays(np.zeros([4, 8, 8], np.uint8))
    with pytest.raises(UsageError, match=f"^images must be given in Python or be named, got both, the latter by {place}=photos;"):
        tf_simclr.run(replace(Config(), **{f"data__{place}": "photos"}), data)


def test_what_was_loaded_by_the_same_names_is_given(tmp_path, monkeypatch):
    np.savez(tmp_path / "x.npz", images=np.zeros([4, 8, 8], np.uint8))
    config = replace(Config(), stage="pretrain", data__data_dir=str(tmp_path / "x.npz"))
    data = tf_simclr.load_data(config.data)
    stages.check_given(config, data)
    with pytest.raises(UsageError, match="got both, the latter by data_dir=y.npz"):
        stages.check_given(replace(config, data__data_dir="y.npz"), data)


# As a process


def test_the_module_and_the_console_script_answer_alike():
    script = pathlib.Path(sys.executable).with_name("tf-simclr")
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60)
    by_module = run_python("-m", "tf_simclr", "--version")
    assert by_script.stdout == by_module.stdout == f"tf-simclr {tf_simclr.__version__}\n"
    assert by_script.returncode == by_module.returncode == 0


@pytest.mark.parametrize("argv, code", [(["--help"], 0), (["-h"], 0), (["--stge=pretrain"], 2), (["--depth=7"], 2)])
def test_help_and_mistakes_are_answered_without_tensorflow(argv, code):
    program = f"""
import sys
from tf_simclr.cli import main
code = main({argv})
heavy = {{"tensorflow", "numpy", "keras", "keras_cv", "tensorflow_addons", "tensorflow_datasets"}} & set(sys.modules)
sys.exit(f"loaded: {{heavy}}" if heavy else code)
"""
    done = run_python("-c", program)
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("argv", [["--help"], ["--stge=pretrain"]])
def test_help_and_mistakes_are_answered_at_once(argv):
    """In half a second. Processor time, which on an idle machine is the time one waits, does not depend on what else runs."""

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("-m", "tf_simclr", *argv)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_no_flag_is_defined_in_the_global_flags():
    program = """
from absl import flags
before = set(flags.FLAGS)
import tf_simclr, tf_simclr.config, tf_simclr.errors
from tf_simclr.cli import parse
parse(["--stage=pretrain", "--depth=34"])
assert set(flags.FLAGS) == before, set(flags.FLAGS) - before
"""
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr


def test_two_parsers_share_nothing():
    first, second = build_flags(), build_flags()
    first["depth"].value = 50
    assert second["depth"].value is None


def test_help_can_be_piped_into_a_reader_that_stops():
    """`tf-simclr --help | head -1` is no error."""
    command = f"set -o pipefail; {sys.executable} -m tf_simclr --help | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    assert done.returncode == 0 and done.stdout.startswith("Usage: tf-simclr") and not done.stderr


def test_a_process_may_have_no_standard_error(tmp_path):
    command = f"{sys.executable} -m tf_simclr --stage=evaluate --from={tmp_path} 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--from must be the run directory" in done.stdout + done.stderr


def test_garbage_is_searched_for_again_when_tensorflow_cannot_be_loaded(monkeypatch):
    seen = []

    def fail(name):
        seen.append((name, gc.isenabled()))
        raise ImportError(name)

    monkeypatch.setattr(cli.importlib, "import_module", fail)
    with pytest.raises(ImportError):
        cli._load_tensorflow(contextlib.nullcontext())
    assert seen == [("tensorflow", False)] and gc.isenabled()
