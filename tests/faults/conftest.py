import re

import problem
import pytest
import tiny

from tf_simclr import cli


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A directory with the images of `problem`."""
    directory = tmp_path_factory.mktemp("data")
    problem.write_data(directory)
    return directory


@pytest.fixture(scope="session")
def undisturbed(data, tmp_path_factory):
    """The run directory of a pipeline that nothing happened to."""
    run_dir = tmp_path_factory.mktemp("undisturbed") / "run"
    done = problem.run(problem.flags(data, run_dir))
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The run directory of a classifier of `tiny.CLASSES` that was trained for two steps, within this process."""
    home = tmp_path_factory.mktemp("trained")
    tiny.write_npz(home / "data.npz", *tiny.images(48, 0))
    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched)
        arguments = ["--stage=finetune", *tiny.FLAGS, f"--data_dir={home / 'data.npz'}", "--eval_on=holdout"]
        assert cli.main([*arguments, f"--run_dir={home / 'run'}"]) == 0
    return home / "run"


@pytest.fixture
def refused(capsys):
    """Gives arguments to the command line, which must refuse them on one line, beside those of the log; returns that line."""

    def refused(*arguments):
        capsys.readouterr()
        code, said = cli.main(list(map(str, arguments))), capsys.readouterr().err
        assert code == 2, said
        lines = [line for line in said.splitlines() if not re.match(r"\d\d:\d\d:\d\d ", line)]
        assert len(lines) == 1 and lines[0].startswith("tf-simclr: error: "), said
        return lines[0]

    return refused


@pytest.fixture
def outcome(record_property):
    """Tells `tools/faults.py` what was seen, in words."""
    return lambda words: record_property("outcome", words)
