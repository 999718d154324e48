"""Inside .venv-preflight, for `preflight.py` and `accelerator_step.py`: takes DIRECTORY/step.hlo on.

    preflight_compile.py describe TOPOLOGY              the number of devices of a TPU topology
    preflight_compile.py compile TOPOLOGY DIRECTORY     compiled for one of these devices, what the compiler says in compiled.json
    preflight_compile.py export DIRECTORY               as step.stablehlo for JAX on any device; its shapes in facts.json

Nothing here needs a TPU, TensorFlow or this package. What is private in JAX is pinned by requirements/preflight.txt.
"""

import json
import os
import pathlib
import re
import sys
import time

os.environ.update(
    TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1", JAX_PLATFORMS="cpu", TPU_STDERR_LOG_LEVEL="3", TPU_MIN_LOG_LEVEL="3"
)

import numpy as np  # noqa: E402
from jax._src.interpreters.mlir import make_ir_context  # noqa: E402
from jax._src.lib import xla_client  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jaxlib.mlir import ir  # noqa: E402
from jaxlib.mlir.dialects import stablehlo  # noqa: E402

_TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16", "i64": "int64", "i32": "int32", "i1": "bool", "ui8": "uint8"}
_ALIAS = r"parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>"


def to_stablehlo(hlo):
    """A serialised HLO module as an MLIR module that any compiler takes. Call it inside of an MLIR context.

    Of the dialect mhlo, which they do not take, `copy` becomes a reshape to the same shape and the attributes of the module go.

    Returns:
      (module, list of (parameter, output): the outputs that overwrite inputs, which are variables).
    """
    text = ir.Module.parse(xla_client._xla.mlir.hlo_to_stablehlo(hlo)).operation.get_asm(large_elements_limit=None)
    text = re.sub(r"mhlo\.copy (%\S+) : (tensor<\S+>)", r"stablehlo.reshape \1 : (\2) -> \2", text)
    module = ir.Module.parse(text)
    attributes = module.operation.attributes
    aliases = re.findall(_ALIAS, str(attributes["mhlo.input_output_alias"])) if "mhlo.input_output_alias" in attributes else []
    for name in [attribute if isinstance(attribute, str) else attribute.name for attribute in attributes]:
        if name.startswith("mhlo."):
            del attributes[name]
    return module, [(int(parameter), int(output)) for parameter, output in aliases]


def main_of(module):
    return next(function for function in module.body.operations if function.attributes["sym_name"].value == "main")


def donate(module, aliases):
    """Marks the arguments that are overwritten, as JAX marks donated ones."""
    main = main_of(module)
    donated, number = [{} for _ in main.arguments], ir.IntegerType.get_signless(32)
    for parameter, output in aliases:
        donated[parameter]["tf.aliasing_output"] = ir.IntegerAttr.get(number, output)
    main.attributes["arg_attrs"] = ir.ArrayAttr.get([ir.DictAttr.get(one) for one in donated])


def export(hlo):
    """A step for JAX on any device.

    Returns:
      (StableHLO in the portable form, dict: inputs and outputs, lists of (shape, dtype), and overwritten, the (parameter, output) that
      `to_stablehlo` returns).
    """
    with make_ir_context():
        module, aliases = to_stablehlo(hlo)
        kind = ir.FunctionType(ir.TypeAttr(main_of(module).attributes["function_type"]).value)
        inputs, outputs = ([_shape_and_dtype(ir.RankedTensorType(t)) for t in types] for types in (kind.inputs, kind.results))
        # For a JAX that may be a quarter of a year older than this one.
        version = stablehlo.get_version_from_compatibility_requirement(stablehlo.StablehloCompatibilityRequirement.WEEK_12)
        code = xla_client._xla.mlir.serialize_portable_artifact(module, version, False)
    return code, {"inputs": inputs, "outputs": outputs, "overwritten": aliases}


def _shape_and_dtype(tensor):
    return tuple(tensor.shape), _TYPES[str(tensor.element_type)]


def devices_of(topology):
    """The devices of 'v5e:2x2'. Exits with one line where libtpu does not know such a topology."""
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except Exception as error:  # whatever its kind, it means that there is no such topology
        sys.exit(f"--topology must be one that libtpu knows, got {topology}: {' '.join(str(error).split())[:200]}")


def compile_for(hlo, topology):
    """What the compiler says about a step on one device: a dict that is written to compiled.json."""
    devices = devices_of(topology)
    options = xla_client.CompileOptions()
    options.device_assignment = xla_client.DeviceAssignment.create(np.array([[devices[0].id]]))
    found = {"device": devices[0].device_kind, "devices": len(devices), "error": ""}
    with make_ir_context():
        module, aliases = to_stablehlo(hlo)
        donate(module, aliases)
        # What only the processor that the step was lowered on could run.
        found["custom_calls"] = sorted(set(re.findall(r"stablehlo\.custom_call @(\w+)", str(module))))
        start = time.perf_counter()
        try:
            executable = devices[0].client.compile(module, xla_client.DeviceList((devices[0],)), options)
        except Exception as error:  # the compiler has one kind of error for everything
            return {**found, "seconds": time.perf_counter() - start, "error": str(error)}
    memory, cost = executable.get_compiled_memory_stats(), executable.cost_analysis()
    cost = cost[0] if isinstance(cost, list) else cost
    return {
        **found,
        "seconds": time.perf_counter() - start,
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "overwritten": memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
        "flops": cost["flops"],
        "bytes": cost["bytes accessed"],
        "optimal_seconds": cost.get("optimal_seconds"),
    }


if __name__ == "__main__":
    if sys.argv[1] == "describe":
        print(json.dumps({"devices": len(devices_of(sys.argv[2]))}))
    elif sys.argv[1] == "export":
        directory = pathlib.Path(sys.argv[2])
        code, found = export((directory / "step.hlo").read_bytes())
        (directory / "step.stablehlo").write_bytes(code)
        facts = json.loads((directory / "facts.json").read_text())
        (directory / "facts.json").write_text(json.dumps({**facts, **found}))
    else:
        directory = pathlib.Path(sys.argv[3])
        result = compile_for((directory / "step.hlo").read_bytes(), sys.argv[2])
        (directory / "compiled.json").write_text(json.dumps(result))
