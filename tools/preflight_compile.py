"""Inside .venv-preflight, for `preflight.py`: compiles DIRECTORY/step.hlo for one device of a TPU topology, to compiled.json.

    preflight_compile.py describe TOPOLOGY
    preflight_compile.py compile TOPOLOGY DIRECTORY

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

_ALIAS = r"parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>"


def to_stablehlo(hlo):
    """A serialised HLO module as an MLIR module that the TPU compiler takes. Call it inside of an MLIR context.

    Of the dialect mhlo, which it does not take, `copy` becomes a reshape to the same shape and the attributes of the module go; before
    that, what they say about outputs that overwrite inputs (variables) is given to the arguments, as JAX marks donated ones.
    """
    text = ir.Module.parse(xla_client._xla.mlir.hlo_to_stablehlo(hlo)).operation.get_asm(large_elements_limit=None)
    text = re.sub(r"mhlo\.copy (%\S+) : (tensor<\S+>)", r"stablehlo.reshape \1 : (\2) -> \2", text)
    module = ir.Module.parse(text)
    attributes = module.operation.attributes
    aliases = re.findall(_ALIAS, str(attributes["mhlo.input_output_alias"])) if "mhlo.input_output_alias" in attributes else []
    for name in [attribute if isinstance(attribute, str) else attribute.name for attribute in attributes]:
        if name.startswith("mhlo."):
            del attributes[name]
    main = next(function for function in module.body.operations if function.attributes["sym_name"].value == "main")
    donated, number = [{} for _ in main.arguments], ir.IntegerType.get_signless(32)
    for parameter, output in aliases:
        donated[int(parameter)]["tf.aliasing_output"] = ir.IntegerAttr.get(number, int(output))
    main.attributes["arg_attrs"] = ir.ArrayAttr.get([ir.DictAttr.get(one) for one in donated])
    return module


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
        module = to_stablehlo(hlo)
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
    else:
        directory = pathlib.Path(sys.argv[3])
        result = compile_for((directory / "step.hlo").read_bytes(), sys.argv[2])
        (directory / "compiled.json").write_text(json.dumps(result))
