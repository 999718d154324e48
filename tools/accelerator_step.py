"""Runs the training step of a recipe on an accelerator whose machine has JAX, and perhaps PyTorch, but no TensorFlow.

    make preflight
    .venv/bin/python tools/accelerator_step.py prepare DIRECTORY --flagfile=flags/imagenet/pipeline.flags --sk --pretrain_batch_size=128
    PYTHONPATH=. python tools/accelerator_step.py run DIRECTORY --json accelerator.json

`prepare` takes the flags of `tf-simclr` and writes the step as StableHLO, with its facts; `run`, on the other machine, with this repository
and that directory, hands it to JAX, with random images and weights, and runs a plain PyTorch step of the same network and batch after it.
No images are read on either machine where the flags say --image_size. docs/tpu.md says more.
"""

import argparse
import json
import pathlib
import sys

import environments

from tf_simclr.errors import UsageError
from tf_simclr.planning.accelerators import CHIPS


def prepare(directory, training, flags):
    """Writes step.stablehlo and facts.json into a directory."""
    from tf_simclr import cli  # needs absl, which the other machine may not have

    flags = [*flags, "--stage=plan"]
    cli.parse(flags)
    for environment in (environments.LOWERING, environments.COMPILING):
        environments.interpreter(environment)
    directory.mkdir(parents=True, exist_ok=True)
    facts = environments.lower(directory, training, 1, flags)
    if facts["not_lowered"]:
        raise UsageError(f"every operation of the step must lower, but these do not: {', '.join(facts['not_lowered'])}")
    environments.call(environments.COMPILING, "preflight_compile.py", "export", directory)
    (directory / "step.hlo").unlink()
    print(f"{facts['training']}: {facts['network']}, {facts['batch_size']} images, {facts['precision']}; next: run {directory}")


def judge(facts, found, chip):
    """What a step's time means: a dict with images_per_second and share_of_peak (of the chip's bfloat16 peak; None where it is unknown).

    Args:
      facts: what `prepare` wrote.
      found: what one of the scripts that measure printed, a dict.
      chip: the `Chip`, or None.
    """
    if "skipped" in found:
        return found
    speed = facts["flops"] / found["step_seconds"]
    return {**found, "images_per_second": facts["batch_size"] / found["step_seconds"], "share_of_peak": chip and speed / chip.flops}


def attempt(script, directory, steps):
    """What a script measured, in a process whose memory is free again after it; {"skipped": why} where it cannot run."""
    try:
        return json.loads(environments.call_with(sys.executable, script, directory, steps).splitlines()[-1])
    except UsageError as error:
        return {"skipped": str(error)}


def run(directory, steps, name):
    """Measures both steps; a dict."""
    try:
        facts = json.loads((directory / "facts.json").read_text())
    except OSError:
        raise UsageError(f"run needs a directory that prepare wrote, got {directory}; prepare it first") from None
    result = {key: facts[key] for key in ("training", "network", "batch_size", "precision", "flops", "parameters")}
    measured = {kind: attempt(f"accelerator_{kind}.py", directory, steps) for kind in ("jax", "torch")}
    # By its own name: "NVIDIA H100 80GB HBM3".
    name = name or next((chip for chip in CHIPS for found in measured.values() if chip in found.get("device", "").split()), None)
    result |= {"chip": name, "steps": steps}
    result |= {kind: judge(facts, found, CHIPS.get(name)) for kind, found in measured.items()}
    speeds = [result[kind].get("images_per_second") for kind in ("jax", "torch")]
    return {**result, "ratio": speeds[0] / speeds[1] if all(speeds) else None}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("prepare", "run"))
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--training", default="pretrain", help="prepare: pretrain, or a method of the recipe")
    parser.add_argument("--steps", type=int, default=30, help="run: how many are timed")
    parser.add_argument("--chip", choices=tuple(CHIPS), help="run: whose peak to compare with, where the device's name does not tell")
    parser.add_argument("--json", type=pathlib.Path, help="run: write the result to this file")
    arguments, rest = parser.parse_known_args(argv)
    if arguments.action == "prepare":
        return prepare(arguments.directory, arguments.training, rest)
    if rest or arguments.steps < 1:
        raise UsageError(f"run takes --steps (at least 1), --chip and --json, got {' '.join(rest) or f'--steps={arguments.steps}'}")
    text = json.dumps(run(arguments.directory, arguments.steps, arguments.chip), indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        print(f"accelerator_step.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
