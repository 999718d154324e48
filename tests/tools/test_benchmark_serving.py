"""The rows of the benchmark about answering run at a tiny size: both sides say something of all images."""

import importlib
import pathlib

import pytest
import tiny

from tf_simclr.config import ModelConfig

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
SPEC = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=8, channels=1)


@pytest.fixture(scope="module")
def serving():
    with pytest.MonkeyPatch.context() as patch:
        tiny.shorten(patch)
        patch.syspath_prepend(str(TOOLS))
        yield importlib.import_module("benchmarks.serving")


@pytest.mark.parametrize(
    "row, sizes, images",
    [("predict_arrays", {"times": 1}, 8000), ("embed_files", {"files": 3, "times": 2}, 6), ("serve_batch", {"seconds": 0.01}, None)],
)
def test_rows_run(serving, row, sizes, images):
    found = getattr(serving, row)(1, spec=SPEC, **sizes)
    assert found.get("images") == images and found["unit"] == "images/s"
    assert len(found["ratios"]) == 1 and found["ratios"][0] > 0
    assert all(speed > 0 for side in ("ours", "against") for speed in found[side])
