"""Where JAX is, and no TensorFlow: runs DIRECTORY/step.stablehlo, which `accelerator_step.py prepare` made; prints what it found as JSON.

accelerator_jax.py DIRECTORY STEPS
"""

import dataclasses
import json
import os
import pathlib
import sys
import time

os.environ["JAX_ENABLE_X64"] = "1"  # examples and steps are numbers of 64 bits

import jax  # noqa: E402
import jax.export  # noqa: E402
import numpy as np  # noqa: E402


def load(directory):
    """The step of a directory as a function of arrays, in the order of `facts["inputs"]`, that returns those of `facts["outputs"]`; what it
    overwrites is donated."""
    facts = json.loads((directory / "facts.json").read_text())
    inputs, outputs = (
        tuple(jax.core.ShapedArray(tuple(shape), jax.numpy.dtype(dtype)) for shape, dtype in facts[name]) for name in ("inputs", "outputs")
    )
    inside, outside = (None,) * len(inputs), (None,) * len(outputs)
    known = {
        "fun_name": "step",
        "in_tree": jax.tree.structure((inputs, {})),
        "in_avals": inputs,
        "out_tree": jax.tree.structure(outputs),
        "out_avals": outputs,
        "_has_named_shardings": True,
        "_in_named_shardings": inside,
        "_out_named_shardings": outside,
        "in_shardings_hlo": inside,
        "out_shardings_hlo": outside,
        "nr_devices": 1,
        "platforms": (jax.export.default_export_platform(),),
        "ordered_effects": (),
        "unordered_effects": (),
        "disabled_safety_checks": (),
        "mlir_module_serialized": (directory / "step.stablehlo").read_bytes(),
        "calling_convention_version": jax.export.maximum_supported_calling_convention_version,
        "module_kept_var_idx": tuple(range(len(inputs))),
        "uses_global_constants": False,
        "_get_vjp": None,
    }
    # What a function that was exported consists of differs from one JAX to the next.
    exported = jax.export.Exported(**{field.name: known[field.name] for field in dataclasses.fields(jax.export.Exported)})
    return jax.jit(exported.call, donate_argnums=[parameter for parameter, _ in facts["overwritten"]])


def first_arguments(facts, seed=0):
    """Random images, and variables that are distributed as those of a new network. A list of NumPy arrays."""
    random, arguments = np.random.default_rng(seed), []
    batch = len(facts["inputs"]) - len(facts["variables"])
    whole = np.arange if facts["training"] == "pretrain" else np.zeros  # images that differ; which class they have does not matter
    for number, (shape, dtype) in enumerate(facts["inputs"]):
        if number >= batch:
            variable = facts["variables"][number - batch]
            value = variable["mean"] + variable["std"] * (random.standard_normal(shape, np.float32) if variable["std"] else np.ones(shape))
        else:
            value = random.random(shape, np.float32) if dtype.startswith("float") else whole(np.prod(shape)).reshape(shape)
        arguments.append(np.asarray(value).astype(dtype))
    return arguments


def following(arguments, outputs, overwritten):
    """The arguments of the step after the one that returned these outputs."""
    arguments = list(arguments)
    for parameter, output in overwritten:
        arguments[parameter] = outputs[output]
    return arguments


def measure(directory, steps):
    """A dict: device, version, step_seconds (two steps before do not count), finite (whether all metrics are), peak_bytes."""
    facts = json.loads((directory / "facts.json").read_text())
    step, overwritten = load(directory), facts["overwritten"]
    arguments = [jax.device_put(value) for value in first_arguments(facts)]
    compiled = step.lower(*arguments).compile()
    for number in range(2 + steps):
        if number == 2:
            jax.block_until_ready(arguments)
            start = time.perf_counter()
        outputs = compiled(*arguments)
        arguments = following(arguments, outputs, overwritten)
    jax.block_until_ready(arguments)
    seconds = (time.perf_counter() - start) / steps
    written = {output for _, output in overwritten}
    return {
        "device": jax.devices()[0].device_kind,
        "version": jax.__version__,
        "step_seconds": seconds,
        "finite": all(np.isfinite(output).all() for number, output in enumerate(outputs) if number not in written),
        "peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
    }


if __name__ == "__main__":
    print(json.dumps(measure(pathlib.Path(sys.argv[1]), int(sys.argv[2]))))
