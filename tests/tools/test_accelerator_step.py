"""The step that is prepared for JAX: judged by hand, and, where the environments are, against TensorFlow's own."""

import importlib
import json
import pathlib
import subprocess
import sys

import pytest

from tf_simclr.errors import UsageError

ROOT = pathlib.Path(__file__).parents[2]
TOOL = ROOT / "tools" / "accelerator_step.py"


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOL.parent))
        yield importlib.import_module("accelerator_step")


FACTS = {"training": "pretrain", "network": "ResNet-50", "batch_size": 64, "precision": "mixed_bfloat16", "flops": 989e9, "parameters": 7}


def test_speeds_and_share_of_the_peak_by_hand(tool, monkeypatch, tmp_path):
    found = {"accelerator_jax.py": {"device": "NVIDIA H100 80GB HBM3", "step_seconds": 0.002}}
    found["accelerator_torch.py"] = {"device": "NVIDIA H100 80GB HBM3", "step_seconds": 0.004}
    monkeypatch.setattr(tool, "attempt", lambda script, directory, steps: found[script])
    (tmp_path / "facts.json").write_text(json.dumps(FACTS))
    result = tool.run(tmp_path, 30, None)
    assert result["chip"] == "H100" and result["ratio"] == pytest.approx(2)
    assert result["jax"]["images_per_second"] == pytest.approx(32_000) and result["jax"]["share_of_peak"] == pytest.approx(0.5)
    found["accelerator_torch.py"] = {"skipped": "no torch"}
    result = tool.run(tmp_path, 30, "H200")
    assert result["chip"] == "H200" and result["ratio"] is None and result["torch"] == {"skipped": "no torch"}


def test_what_cannot_run_says_why(tool, tmp_path):
    assert set(tool.attempt("accelerator_jax.py", tmp_path, 1)) == {"skipped"}  # there is no step, and perhaps no JAX
    with pytest.raises(UsageError, match="run needs a directory that prepare wrote"):
        tool.run(tmp_path, 1, None)


@pytest.mark.parametrize("arguments", [["run", "here", "--steps=0"], ["run", "here", "--depth=10"]])
def test_a_mistake_is_one_line(arguments):
    told = subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True)
    assert told.returncode == 2 and told.stderr.startswith("accelerator_step.py: error: run ") and told.stderr.count("\n") == 1


# In .venv-tf221: a prepared step, what it is given, and what TensorFlow makes of that.
EXPECTED = """
import json, pathlib, sys
sys.path.insert(0, "tools")
import preflight_lower
import numpy as np, tensorflow as tf
from tf_simclr.config import Config, replace
from tf_simclr.planning.recipe import Problem, trainings
from tf_simclr.planning.step import make_step
out = pathlib.Path(sys.argv[1])
tiny = {"depth": 10, "width": 0.0625, "stem": "cifar2", "head_dim": 16, "image_size": 16, "channels": 1}
fit = {"pretrain__batch_size": 8, "pretrain__warmup": 0.0, "pretrain__learning_rate": 0.01}
config = replace(Config(), **{f"model__{name}": value for name, value in tiny.items()}, **fit)
step, signature = make_step(trainings(config, Problem(64, 0, 0, 16, 1))[0], 8, replace(config, jit=True))
facts = {"training": "pretrain", **preflight_lower.lower_step(step, signature, out)}
(out / "facts.json").write_text(json.dumps(facts))
variables = preflight_lower.captured_variables(step.get_concrete_function(*signature))
batch = [tf.random.uniform(s.shape) if s.dtype.is_floating else tf.range(8, dtype=s.dtype) for s in signature]
values = {f"argument{i}": np.asarray(x) for i, x in enumerate([*batch, *variables])}
values["metrics"] = np.array(step(*batch))
np.savez(out / "values.npz", **values, **{f"after{i}": v.numpy() for i, v in enumerate(variables)})
"""
# In .venv-preflight: the same by JAX.
FOUND = """
import json, pathlib, sys
sys.path.insert(0, "tools")
import accelerator_jax as ours
import numpy as np
directory = pathlib.Path(sys.argv[1])
facts, values = json.loads((directory / "facts.json").read_text()), np.load(directory / "values.npz")
step, count = ours.load(directory), len(facts["inputs"])
start = arguments = [values[f"argument{i}"] for i in range(count)]
assert [[list(x.shape), str(x.dtype)] for x in arguments] == facts["inputs"]
outputs = step(*arguments)
arguments = ours.following(arguments, outputs, facts["overwritten"])
written = {output for _, output in facts["overwritten"]}
metrics = [x for i, x in enumerate(outputs) if i not in written]
np.testing.assert_allclose(metrics, values["metrics"], rtol=1e-4)
first = count - len(facts["variables"])
for i, variable in enumerate(facts["variables"]):
    np.testing.assert_allclose(arguments[first + i], values[f"after{i}"], rtol=1e-4, atol=1e-4, err_msg=variable["name"])
kernels = [first + i for i, variable in enumerate(facts["variables"]) if "kernel" in variable["name"]]
assert max(np.abs(arguments[i] - start[i]).max() for i in kernels) > 1e-5  # it does train
found = ours.measure(directory, 2)
assert found["finite"] and found["step_seconds"] > 0
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not all((ROOT / name / "bin" / "python").exists() for name in (".venv-tf221", ".venv-preflight")), reason="needs: make preflight"
)
def test_jax_computes_what_tensorflow_does(tool, tmp_path):
    """Metrics, weights, slots and statistics after a step. Slow: a minute, most of it for loading and compiling."""

    def python(environment, code):
        command = [str(ROOT / environment / "bin" / "python"), "-c", code, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr

    python(".venv-tf221", EXPECTED)
    tool.environments.call(".venv-preflight", "preflight_compile.py", "export", tmp_path)
    python(".venv-preflight", FOUND)
