"""`--precision=auto`: what a machine has in hardware, recorded as what it came to be."""

import json

import pytest
import tensorflow as tf
import tiny

import tf_simclr
from tf_simclr.config import Config, replace
from tf_simclr.errors import UsageError
from tf_simclr.stages import precision

AUTO = replace(Config(), precision="auto")


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    """Makes this machine one without a GPU, with a processor of the given flags; None: with nothing that tells."""

    def have(flags):
        monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
        if flags is not None:
            (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags} sse2\nbugs\t\t: spectre_v1\n")

    return have


@pytest.mark.parametrize(
    "flags, expected",
    [("avx2", "float32"), ("avx512f avx512_bf16", "mixed_bfloat16"), ("amx_bf16 amx_tile", "mixed_bfloat16"), (None, "float32")],
)
def test_a_processor_says_what_it_has(cpu, flags, expected):
    cpu(flags)
    assert precision.resolved(AUTO) == replace(AUTO, precision=expected)


@pytest.mark.parametrize(
    "capabilities, expected", [([(7, 5)], "float32"), ([(8, 0), (9, 0)], "mixed_bfloat16"), ([(9, 0), None], "float32")]
)
def test_every_gpu_must_have_it(monkeypatch, capabilities, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(range(len(capabilities))) if kind == "GPU" else [])
    known = [{} if capability is None else {"compute_capability": capability} for capability in capabilities]
    monkeypatch.setattr(tf.config.experimental, "get_device_details", known.__getitem__)
    assert precision.resolved(AUTO).precision == expected


def test_a_tpu_has_it(cpu):
    cpu("avx2")
    assert precision.resolved(replace(AUTO, strategy="tpu", tpu="local")).precision == "mixed_bfloat16"


def test_what_is_said_stays(cpu):
    cpu("avx512_bf16")
    for said in ("float32", "mixed_float16"):
        assert precision.resolved(replace(AUTO, precision=said)).precision == said


def test_a_plan_is_for_accelerators(cpu):
    cpu("avx2")
    plan = replace(AUTO, stage="plan")
    assert precision.resolved(plan).precision == "mixed_bfloat16"
    assert precision.resolved(replace(plan, measure=True)).precision == "float32"


def test_stages_that_train_nothing_have_none_to_choose(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}))
    for stage in ("evaluate", "export", "predict"):
        config = replace(AUTO, stage=stage)
        assert precision.resolved(config) is config


def test_many_workers_must_be_told():
    with pytest.raises(UsageError, match="precision auto is that of one machine, got many workers; give --precision="):
        precision.resolved(replace(AUTO, strategy="multiworker"))


def test_a_run_records_what_it_came_to_be_and_keeps_it(cpu, tmp_path, short_resnet):
    """The same command on another kind of machine goes on, here with nothing left to do, in the precision that the run began with."""
    cpu("avx512_bf16")
    settings = tiny.settings("finetune", tmp_path / "run", precision="auto", supervised__steps=1)
    result = tf_simclr.run(settings, tiny.data())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["precision"] == "mixed_bfloat16"
    cpu("avx2")
    assert tf_simclr.run(settings, tiny.data()) == result
    assert precision.resolved(replace(settings, run_dir=str(tmp_path / "other"))).precision == "float32"
