"""The benchmark's frame, with rows that take no time. No speed is tested: speeds are what the benchmark itself says."""

import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
NAMES = (
    "views_32 views_224 views_jpeg step_fp32_peak step_bf16 step_resnet50_sk linear_eval micro_batch_scaling"
    " input_wait_quickstart input_wait_folder"
).split()


@pytest.fixture(scope="module")
def benchmark():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        yield importlib.import_module("benchmark")


@pytest.fixture
def measured(benchmark, monkeypatch, tmp_path):
    """Runs the tool in this process with the given results of rows; what it wrote, and its exit code."""

    def run(found, *arguments):
        monkeypatch.setattr(benchmark.timing, "apart", lambda function, row, repeats: found[row.name](repeats))
        out = tmp_path / "found.json"
        code = benchmark.main([f"--rows={','.join(found)}", "--json", str(out), *arguments])
        return json.loads(out.read_text()), code

    return run


def fixed(ratios, **more):
    return lambda repeats: {"ratios": ratios, "ours": [8.0, 6.0, 7.0], "against": [1.0, 3.0, 2.0], "unit": "images/s", **more}


def test_the_rows_are_those_of_the_table_in_its_order(benchmark):
    assert [row.name for row in benchmark.choose("")] == NAMES
    assert [row.name for row in benchmark.choose("linear_eval,views_32")] == ["views_32", "linear_eval"]


def test_other_rows_run_where_they_are_named(benchmark, measured):
    assert [row.name for row in benchmark.choose("embed_files,views_32")] == ["views_32", "embed_files"]
    (row,) = measured({"predict_arrays": fixed([0.95])})[0]["rows"]
    assert (row["name"], row["bound"], row["wanted"], row["met"]) == ("predict_arrays", "at least", 0.9, True)


def test_what_is_written(measured, tmp_path, capsys):
    picture = tmp_path / "ratios.png"
    found, code = measured(
        {
            "views_224": fixed([3.0, 1.0, 2.5]),
            "views_jpeg": fixed([1.9, 3.0, 1.0], note="kept"),
            "step_bf16": lambda repeats: {"skipped": "no AVX512-BF16"},
            "input_wait_folder": fixed([0.0, 0.03, 0.01]),
        },
        f"--picture={picture}",
    )
    assert code == 0 and set(found) == {"machine", "rows"} and found["machine"]["cores"] >= 1
    good, short, skipped, wait = found["rows"]
    assert [row["name"] for row in found["rows"]] == ["views_224", "views_jpeg", "step_bf16", "input_wait_folder"]
    assert good["ratio"] == {"median": 2.5, "min": 1.0, "max": 3.0} and good["met"] is True
    assert good["ours"] == {"median": 7.0, "min": 6.0, "max": 8.0} and good["against"]["median"] == 2.0 and good["unit"] == "images/s"
    assert (good["bound"], good["wanted"]) == ("at least", 2.0) and (wait["bound"], wait["wanted"]) == ("at most", 0.02)
    assert short["met"] is False and short["note"] == "kept" and wait["met"] is True
    assert skipped["skipped"] == "no AVX512-BF16" and "ratio" not in skipped and skipped["met"] is False
    assert picture.read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [row["name"] for row in found["rows"]]
    assert "FALLS SHORT" in lines[1] and not any("FALLS SHORT" in lines[number] for number in (0, 2, 3))


def test_a_row_may_demand_more_than_its_ratio(measured):
    memory = {"what": "peak memory", "bound": "at most", "wanted": 0.7}
    for value, met in ((0.6, True), (0.8, False)):
        (row,) = measured({"step_resnet50_sk": fixed([1.2], also=[{**memory, "value": value}])})[0]["rows"]
        assert row["met"] is met and row["also"] == [{**memory, "value": value, "met": met}]


def test_a_row_that_fails_leaves_the_others(measured, capsys):
    found, code = measured({"views_32": lambda repeats: 1 / 0, "views_224": fixed([2.0])})
    assert code == 1 and "error: ZeroDivisionError: division by zero" in capsys.readouterr().out
    assert [row["met"] for row in found["rows"]] == [False, True]


def test_pairs_alternate_and_ratios_are_of_pairs(benchmark):
    calls, numbers = [], iter(range(1, 100))

    def side(name):
        return lambda: (calls.append(name), next(numbers))[1]

    found = benchmark.timing.paired(side("ours"), side("against"), 3)
    assert calls == ["ours", "against"] + ["ours", "against", "against", "ours", "ours", "against"]
    assert found == {"ours": [3, 6, 7], "against": [4, 5, 8], "ratios": [3 / 4, 6 / 5, 7 / 8]}


def test_a_function_apart_has_memory_of_its_own(benchmark):
    ballast = bytearray(200 << 20)
    ballast[::4096] = b"1" * len(ballast[::4096])
    assert benchmark.timing.peak_memory() > len(ballast)
    assert 1 << 20 < benchmark.timing.apart(benchmark.timing.peak_memory) < len(ballast)
    with pytest.raises(ZeroDivisionError):
        benchmark.timing.apart(divmod, 1, 0)


@pytest.mark.parametrize(
    "argument, told",
    [
        ("--rows=views_33", "--rows must be of views_32, "),
        ("--repeats=0", "--repeats must be at least 1"),
        ("--json=no/such.json", "--json and --picture must be files in a directory that is there, got no/such.json; make no"),
    ],
)
def test_a_mistake_is_one_line(argument, told):
    done = subprocess.run([sys.executable, str(TOOLS / "benchmark.py"), argument], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"benchmark.py: error: {told}") and done.stderr.count("\n") == 1


def test_the_published_crop_takes_parts_of_the_image(benchmark):
    ramp = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None, None], (64, 64, 3))
    views = importlib.import_module("benchmarks.views")
    images = tf.data.Dataset.from_tensors(ramp).repeat(300).map(lambda image: views.crop_and_resize(image, 64))
    shares = np.array([float(tf.reduce_max(image) - tf.reduce_min(image)) / 64 for image in images])
    assert shares.min() < 0.4 and shares.max() > 0.85 and 0.5 < shares.mean() < 0.75  # of the height
