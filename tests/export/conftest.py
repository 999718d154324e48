import os
import pathlib
import subprocess
import sys

import pytest
import tiny

from tf_simclr.config import ModelConfig
from tf_simclr.export.reading import Limits
from tf_simclr.export.saved_model import export_network

LIMITS = Limits(max_batch=8, max_pixels=1_000_000, max_bytes=100_000)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """(network, directory of its export): three classes of tiny colour images, limits that requests of a test exceed."""
    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched)
        spec = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=12, channels=3, head_width=6)
        network = tiny.scattered_network(spec, 1)
        directory = tmp_path_factory.mktemp("exported") / "export"
        export_network(network, tiny.CLASSES, directory, LIMITS)
    return network, directory


@pytest.fixture(scope="session")
def alone():
    """Runs a program of this directory in a process without tf_simclr; it must succeed."""

    def alone(program, *arguments, timeout=300):
        path = pathlib.Path(__file__).with_name(program)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        command = [sys.executable, "-I", path, *arguments]
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stderr

    return alone


@pytest.fixture
def outcome(record_property):
    """Tells `tools/faults.py` what was seen, in words."""
    return lambda words: record_property("outcome", words)
