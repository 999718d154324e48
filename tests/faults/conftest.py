import problem
import pytest


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


@pytest.fixture
def outcome(record_property):
    """Tells `tools/faults.py` what was seen, in words."""
    return lambda words: record_property("outcome", words)
