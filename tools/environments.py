"""Scripts of this folder that run in environments of their own, since what they need cannot be installed together."""

import json
import pathlib
import subprocess

from tf_simclr.errors import UsageError

ROOT = pathlib.Path(__file__).resolve().parents[1]
LOWERING, COMPILING = ".venv-tf221", ".venv-preflight"


def interpreter(environment):
    """The Python of an environment. Raises UsageError where it is not there."""
    path = ROOT / environment / "bin" / "python"
    if not path.exists():
        raise UsageError(f"preflight needs the environment {environment}, which is not there; make it with: make preflight")
    return str(path)


def call(environment, script, *arguments):
    """What a script of this folder prints, run in another environment. Raises UsageError with its last line where it fails."""
    return call_with(interpreter(environment), script, *arguments)


def call_with(python, script, *arguments):
    """As `call`, with the Python of this path."""
    command = [python, str(ROOT / "tools" / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UsageError((done.stderr.strip().splitlines() or [f"{script} ended with {done.returncode}"])[-1])
    return done.stdout


def lower(directory, training, devices, flags):
    """Lowers the step of a training for one of so many devices, into a directory (a `pathlib.Path`); returns its facts, a dict."""
    call(LOWERING, "preflight_lower.py", directory, training, devices, *flags)
    return json.loads((directory / "facts.json").read_text())
