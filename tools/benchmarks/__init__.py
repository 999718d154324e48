"""The rows of the benchmark: what is measured, against what, and how much of it is wanted.

Each row is a function `NAME(repeats)` in one of the modules here. It returns a dict: ratios (one of each repeat, of one pair of
measurements taken directly after one another), ours and against (what the ratios are of, lists), unit (of these), and whatever else is
worth keeping. What the row demands beside its ratio is in `also`, a list of dicts: what, value, bound and wanted, as in `Row`. A row that
cannot run on this machine returns {"skipped": why}.
"""

import dataclasses
import importlib

AT_LEAST, AT_MOST = "at least", "at most"


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the benchmark.

    Attributes:
      name: of the row, and of the function that measures it.
      module: where that function is, in this package.
      what, against: what the ratio compares.
      bound: AT_LEAST or AT_MOST.
      wanted: the bound of the median ratio.
    """

    name: str
    module: str
    what: str
    against: str
    bound: str
    wanted: float


ROWS = (
    Row("views_32", "views", "two views, 32 px arrays", "one image at a time, tf.image", AT_LEAST, 10.0),
    Row("views_224", "views", "two views, 224 px of 256 px arrays", "one image at a time, tf.image", AT_LEAST, 2.0),
    Row("views_jpeg", "views", "two views, 224 px of 500×375 JPEGs", "one image at a time, tf.image", AT_LEAST, 2.0),
    Row("step_fp32_peak", "steps", "ResNet-18 step, float32", "matrix-product peak", AT_LEAST, 0.85),
    Row("step_bf16", "steps", "ResNet-18 step, mixed_bfloat16", "float32", AT_LEAST, 1.5),
    Row("step_resnet50_sk", "steps", "ResNet-50 SK step", "plain Keras layers", AT_LEAST, 1.1),
    Row("linear_eval", "learning", "linear evaluation", "forward every epoch", AT_LEAST, 20.0),
    Row("micro_batch_scaling", "learning", "step of a 16 times larger batch", "16 steps", AT_MOST, 1.1),
    Row("input_wait_quickstart", "learning", "input wait, quickstart", "step", AT_MOST, 0.02),
    Row("input_wait_folder", "learning", "input wait, folder of 224 px", "step", AT_MOST, 0.02),
)

# Run only where they are named.
MORE = (
    Row("predict_arrays", "serving", "--stage=predict, 28 px arrays", "bare network", AT_LEAST, 0.9),
    Row("embed_files", "serving", "--stage=embed, 64 px PNG files", "bare network", AT_LEAST, 0.9),
    Row("serve_batch", "serving", "serving_default, batches of 256", "Keras' predict", AT_LEAST, 0.9),
)


def measure(row, repeats):
    """What the function of a `Row` returns."""
    return getattr(importlib.import_module(f"{__name__}.{row.module}"), row.name)(repeats)
