"""Compiles the training step of a recipe for a TPU that you do not have, and says whether it fits and about how long it takes.

    make preflight
    .venv/bin/python tools/preflight.py --flagfile=flags/imagenet/pipeline.flags --topology=v5e:2x2 --json preflight.json

All other arguments are those of `tf-simclr`. Nothing is trained and no data are read where the flags say --image_size. It takes two more
environments, which `make preflight` makes: TensorFlow 2.21 turns the step into HLO, and the compiler of libtpu compiles that for one
device of the topology, for its share of the batch and without the communication between devices. docs/tpu.md says what to make of it.
"""

import argparse
import json
import math
import pathlib
import re
import sys
import tempfile

from environments import COMPILING, LOWERING, call, interpreter, lower

from tf_simclr import cli
from tf_simclr.errors import UsageError
from tf_simclr.planning.accelerators import CHIPS

_UNITS = {"B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def check_topology(topology):
    """The chip and the number of chips of 'v5e:2x2'. Raises UsageError for another form or a chip that we do not know."""
    kind, _, shape = topology.partition(":")
    if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)+", shape):
        known = ", ".join(name for name in CHIPS if name.startswith("v"))
        raise UsageError(f"--topology must be a chip ({known}) and a shape, as v5e:2x2 or v4:2x2x1, got {topology!r}")
    return CHIPS[kind], math.prod(int(side) for side in shape.split("x"))


def judge(facts, compiled, chip, share):
    """What lowering and compiling found, in one dict.

    Args:
      facts: what `preflight_lower.py` found.
      compiled: what `preflight_compile.py` found, or None where the step did not lower.
      chip: the `Chip`.
      share: part of a chip that one device is; 1/2 where a device is a core.

    Returns:
      dict: the facts; fits, memory (bytes of a device), needed (bytes; None where the compiler did not get that far), step_seconds (by
      roofline: the longer of compute_seconds and memory_seconds), images_per_second and what the compiler said.
    """
    memory = chip.memory * share
    result = {**facts, "memory": memory, "fits": False, "needed": None, "step_seconds": None}
    if compiled is None:
        return result
    result |= compiled
    result["not_lowered"] = [*facts["not_lowered"], *compiled["custom_calls"]]
    if compiled["error"]:
        # The compiler counts before it gives up: "Used 25.30G of 15.75G hbm".
        used = re.search(r"Used ([\d.]+)([BKMGT]) of ([\d.]+)([BKMGT]) hbm", compiled["error"])
        if used:
            result["needed"] = float(used[1]) * _UNITS[used[2]]
            result["memory"] = float(used[3]) * _UNITS[used[4]]
        return result
    needed = compiled["arguments"] + compiled["outputs"] - compiled["overwritten"] + compiled["temporaries"] + compiled["code"]
    compute = compiled["flops"] / (chip.peak(facts["precision"]) * share)
    moving = compiled["bytes"] / (chip.bandwidth * share)
    result |= {"needed": needed, "fits": needed <= memory, "compute_seconds": compute, "memory_seconds": moving}
    step = max(compute, moving)
    return result | {"step_seconds": step, "images_per_second": facts["batch_size"] / step}


def describe(result, topology):
    """The result as lines of text."""
    yield f"{result['training']}: {result['network']}; {result['batch_size']} images on one device of {topology}, {result['precision']}"
    if result["needed"] is not None:
        verdict = "fits" if result["fits"] else "does not fit"
        yield f"memory     {result['needed'] / 1e9:.3g} of {result['memory'] / 1e9:.3g} GB: {verdict}"
    if result["step_seconds"] is not None:
        yield (
            f"           {result['arguments'] / 1e9:.3g} weights, slots and batch, {result['temporaries'] / 1e9:.3g} temporaries,"
            f" {result['code'] / 1e9:.3g} code"
        )
        yield f"work       {result['flops'] / 1e12:.3g} TFLOP, {result['bytes'] / 1e9:.3g} GB moved a step"
        compute, memory = (1000 * result[name] for name in ("compute_seconds", "memory_seconds"))
        speed = f"{result['images_per_second']:,.0f} images/s on this device"
        yield f"estimate   {speed}: {compute:.3g} ms of computing, {memory:.3g} ms of moving"
    dropped = ", ".join(f"{count} {op}" for op, count in result["dropped"].items()) or "none"
    yield f"ops        {result['ops']:,}; compiled to nothing: {dropped}; not lowered: {', '.join(result['not_lowered']) or 'none'}"
    if result.get("error") and result["needed"] is None:
        yield f"error      {' '.join(result['error'].split())[:300]}"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:2x2", help="chip and shape of the slice, as v5e:2x2 or v4:2x2x1")
    parser.add_argument("--training", default="pretrain", help="pretrain, or a method of the recipe")
    parser.add_argument("--json", type=pathlib.Path, help="write what is found to this file")
    arguments, rest = parser.parse_known_args(argv)
    chip, chips = check_topology(arguments.topology)
    # The methods' own flags are set as in a pipeline, whatever stage the recipe is for.
    flags = [*rest, "--stage=plan"]
    cli.parse(flags)
    interpreter(LOWERING)
    devices = json.loads(call(COMPILING, "preflight_compile.py", "describe", arguments.topology))["devices"]
    with tempfile.TemporaryDirectory() as directory:
        print("lowering the step", file=sys.stderr)
        read = pathlib.Path(directory)
        facts, compiled = lower(read, arguments.training, devices, flags), None
        if (read / "step.hlo").exists():
            print("compiling it; a ResNet-50 takes minutes", file=sys.stderr)
            call(COMPILING, "preflight_compile.py", "compile", arguments.topology, directory)
            compiled = json.loads((read / "compiled.json").read_text())
    result = {"topology": arguments.topology, **judge(facts, compiled, chip, chips / devices)}
    print("\n".join(describe(result, arguments.topology)))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if result["fits"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UsageError as error:
        print(f"preflight.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
