"""The preflight: what needs no compiler, and, where its environments are, a real step compiled for a TPU that is not there."""

import importlib
import json
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf
import tiny

from tf_simclr import cli
from tf_simclr.errors import UsageError
from tf_simclr.planning.plan import plan_training
from tf_simclr.planning.recipe import Problem, trainings
from tf_simclr.planning.step import make_step
from tf_simclr.stages import setup

ROOT = pathlib.Path(__file__).parents[2]
TOOL = ROOT / "tools" / "preflight.py"


@pytest.fixture(scope="module")
def preflight():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOL.parent))
        yield importlib.import_module("preflight")


PARTS = {"pretrain__queue": 64, "pretrain__micro_batch_size": 8}


@pytest.mark.parametrize(
    "name, changes",
    [("pretrain", {}), ("pretrain", {"augment_on": "device"}), ("pretrain", PARTS), ("finetune", {})],
    ids=["pretrain", "views on the device", "memory and micro-batches", "finetune"],
)
def test_the_step_takes_what_the_input_pipeline_makes(name, changes, short_resnet):
    settings = {"finetune__batch_size": 12, "precision": "mixed_bfloat16", **changes}
    config = tiny.settings("pipeline", "unused", methods="finetune", **settings)
    data = tiny.data()
    training = {t.name: t for t in trainings(config, Problem.of(config, data))}[name]
    fit = training.fit
    batches = setup.batches_of(data.train if name == "finetune" else data.train.without_labels(), training.spec, fit, config)
    dataset = batches(start=0, stop=1, view_count=training.views)
    step, signature = make_step(training, fit.batch_size, config)
    assert signature == tf.nest.flatten(dataset.element_spec)
    # And it is a step: traced, it changes weights, slots and the number of steps.
    graph = step.get_concrete_function(*signature).graph
    written = [op.type for op in graph.get_operations() if "Assign" in op.type or op.type == "ResourceApplyAdam"]
    assert len(written) > 10
    # With a memory and in parts, where the training has them.
    assert (
        any("projections" in v.name for v in graph.variables)
        == any("While" in op.type for op in graph.get_operations())
        == bool(changes.get("pretrain__queue"))
    )


def test_micro_batches_that_do_not_divide_a_share_are_refused(preflight, tmp_path):
    lower = importlib.import_module("preflight_lower").lower
    flags = ["--depth=10", "--image_size=16", "--batch_size=64", "--micro_batch_size=24"]
    with pytest.raises(UsageError, match="--micro_batch_size must divide the 32 images of a replica"):
        lower(tmp_path, "pretrain", 2, flags)


def test_a_chip_and_its_number_are_read_off_the_topology(preflight):
    chip, chips = preflight.check_topology("v4:2x2x4")
    assert chips == 16 and chip.flops == 275e12
    for wrong in ("v5e", "v9:2x2", "v5e:2y2", "A100", ""):
        with pytest.raises(UsageError, match="--topology must be a chip"):
            preflight.check_topology(wrong)


FACTS = {
    "training": "pretrain",
    "batch_size": 32,
    "precision": "float32",
    "network": "ResNet-50",
    "ops": 100,
    "dropped": {"CheckNumerics": 3},
    "not_lowered": [],
}
COMPILED = {"device": "TPU v5 lite", "devices": 4, "error": "", "custom_calls": [], "seconds": 1.0, "optimal_seconds": -1.0}
COMPILED |= {"arguments": 10**9, "outputs": 9 * 10**8, "overwritten": 8 * 10**8, "temporaries": 5 * 10**9, "code": 10**8}
COMPILED |= {"flops": 197e10, "bytes": 819e6}


def test_memory_and_roofline_by_hand(preflight):
    chip, _ = preflight.check_topology("v5e:2x2")
    result = preflight.judge(FACTS, COMPILED, chip, 1)
    assert result["needed"] == 6.2e9 and result["memory"] == 16 * 2**30 and result["fits"]
    assert result["step_seconds"] == result["compute_seconds"] == pytest.approx(0.01) and result["memory_seconds"] == pytest.approx(0.001)
    assert result["images_per_second"] == pytest.approx(3200)
    slow = preflight.judge(FACTS, {**COMPILED, "bytes": 819e8}, chip, 0.5)  # a device of half a chip
    assert slow["step_seconds"] == slow["memory_seconds"] == pytest.approx(0.2)
    assert not preflight.judge(FACTS, {**COMPILED, "temporaries": 17e9}, chip, 1)["fits"]
    told = "\n".join(preflight.describe(result, "v5e:2x2"))
    assert "6.2 of 17.2 GB: fits" in told and "3,200 images/s" in told and "compiled to nothing: 3 CheckNumerics; not lowered: none" in told


def test_what_the_compiler_says_when_memory_runs_out(preflight):
    chip, _ = preflight.check_topology("v5e:2x2")
    error = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 25.50G of 15.75G hbm. Exceeded hbm capacity by 9.75G."
    result = preflight.judge(FACTS, {"custom_calls": [], "error": error, "seconds": 1.0}, chip, 1)
    assert result["needed"] == 25.5 * 2**30 and result["memory"] == 15.75 * 2**30 and not result["fits"]
    assert "27.4 of 16.9 GB: does not fit" in "\n".join(preflight.describe(result, "v5e:2x2"))


def test_operations_that_do_not_lower_are_named(preflight):
    chip, _ = preflight.check_topology("v5e:2x2")
    result = preflight.judge({**FACTS, "not_lowered": ["StringFormat"]}, None, chip, 1)
    assert not result["fits"] and "not lowered: StringFormat" in "\n".join(preflight.describe(result, "v5e:2x2"))


def test_a_missing_environment_is_said_with_how_to_make_it(preflight, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.import_module("environments"), "ROOT", tmp_path)
    with pytest.raises(UsageError, match="needs the environment .venv-tf221, which is not there; make it with: make preflight"):
        preflight.main(["--depth=10"])


def test_a_mistake_is_one_line():
    told = subprocess.run([sys.executable, str(TOOL), "--topology=v5e"], capture_output=True, text=True)
    assert told.returncode == 2 and told.stderr.startswith("preflight.py: error: --topology must be a chip")


environments = pytest.mark.skipif(
    not all((ROOT / name / "bin" / "python").exists() for name in (".venv-tf221", ".venv-preflight")), reason="needs: make preflight"
)
# One product, and a variable that it is added to; what XLA leaves out, and with "print" what it cannot lower.
TOY = """
import json, pathlib, sys
sys.path.insert(0, "tools")
import preflight_lower, tensorflow as tf  # in this order, for the choice of Keras
v = tf.Variable(tf.zeros([128, 256]))
def toy(x, y):
    tf.debugging.assert_positive(x[0, 0])
    v.assign_add(tf.debugging.check_numerics(x @ y, "z"))
    if sys.argv[2] == "print":
        tf.print(x[0, 0])
    return tf.reduce_sum(v)
step = tf.function(toy, jit_compile=True, autograph=False)
signature = [tf.TensorSpec([128, 64]), tf.TensorSpec([64, 256])]
out = pathlib.Path(sys.argv[1])
facts = preflight_lower.lower_step(step, signature, out)
(out / "facts.json").write_text(json.dumps(facts))
"""


def lowered(directory, kind):
    """What lowering finds out about the toy step; its HLO is in the directory."""
    command = [str(ROOT / ".venv-tf221" / "bin" / "python"), "-c", TOY, str(directory), kind]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return json.loads((directory / "facts.json").read_text())


@environments
def test_a_toy_step_is_compiled_for_a_tpu(preflight, tmp_path):
    facts = lowered(tmp_path, "plain")
    assert facts["dropped"] == {"CheckNumerics": 1, "Assert": 1} and facts["not_lowered"] == []
    preflight.call(".venv-preflight", "preflight_compile.py", "compile", "v5e:2x2", tmp_path)
    found = json.loads((tmp_path / "compiled.json").read_text())
    assert not found["error"] and found["devices"] == 4 and found["device"] == "TPU v5 lite"
    assert found["flops"] == pytest.approx(2 * 128 * 64 * 256, rel=0.05)
    assert found["overwritten"] >= 4 * 128 * 256 and found["arguments"] >= 4 * (128 * 64 + 64 * 256 + 128 * 256)


@environments
def test_a_toy_step_that_prints_does_not_lower(tmp_path):
    facts = lowered(tmp_path, "print")
    assert facts["not_lowered"] == ["StringFormat"] and not (tmp_path / "step.hlo").exists()


@pytest.mark.slow
@environments
def test_a_real_step_is_compiled_for_a_tpu(tmp_path):
    """Slow: the compiler of libtpu takes a minute for a small ResNet, more beside other work."""
    out = tmp_path / "found.json"
    recipe = ["--depth=10", "--width=0.25", "--stem=cifar2", "--batch_size=64", "--image_size=28", "--channels=1"]
    planned = plan_training(trainings(cli.parse(recipe), Problem(64, 0, 0, 28, 1))[0])
    told = subprocess.run([sys.executable, str(TOOL), "--topology=v5e:2x2", "--json", str(out), *recipe], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    found = json.loads(out.read_text())
    assert found["fits"] and found["batch_size"] == 16 and found["devices"] == 4 and not found["not_lowered"]
    assert found["dropped"]["CheckNumerics"] > 10
    # What XLA counts includes what the plan counts, and not much more.
    assert 0.5 < found["flops"] / (16 * planned["step_flops"]) < 2
    assert "images/s on this device" in told.stdout
