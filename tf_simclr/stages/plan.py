"""What a recipe takes, before anyone trains: parameters, FLOPs, memory, steps, hours on accelerators. Nothing is allocated."""

import dataclasses
import pathlib

import numpy as np

from tf_simclr import durable
from tf_simclr.data import from_arrays
from tf_simclr.inspection.suggest import free_memory, measure
from tf_simclr.planning.accelerators import ACCELERATORS
from tf_simclr.planning.plan import on_accelerator, on_machine, plan_training
from tf_simclr.planning.recipe import Problem, pretraining, trainings
from tf_simclr.planning.tables import accelerator_table, training_table
from tf_simclr.run_directory import make_directory
from tf_simclr.stages import setup


def run(config, data=None):
    """Prints what pretraining and the methods of a recipe take and writes it to plan.json of `--run_dir` (runs/DATASET/plan).

    With `--images` no data are read; with `--measure` a few training steps of the pretraining are timed here. What starts from an earlier
    run (`--from`) is planned without a pretraining.

    Returns:
      dict: problem (see `planning.recipe.Problem`), utilisation, precision, trainings (see `planning.plan.plan_training`) and
      accelerators (see `planning.plan.on_machine`).
    """
    problem = Problem.of(config, data)
    precision = config.precision
    rows = [plan_training(training, precision) for training in trainings(config, problem)]
    machines = [on_accelerator(name, rows, config.utilisation, precision) for name in ACCELERATORS]
    if config.measure:
        machines.append(on_machine("this machine", rows, _speed_here(pretraining(config, problem), config), free_memory()))
    result = {
        "problem": vars(problem),
        "utilisation": config.utilisation,
        "precision": precision,
        "trainings": rows,
        "accelerators": machines,
    }
    parent = None if config.images else setup.parent_of(config)
    directory = pathlib.Path(config.run_dir or setup.default_home(setup.with_data_of(config, parent, data)))
    make_directory(directory)
    durable.write_json(directory / "plan.json", result)
    print(f"{training_table(rows)}\n\n{accelerator_table(machines)}")
    print(
        f"\nHours at {config.utilisation:.0%} of the peak in {precision}; memory of a replica by estimate. In full: {directory}/plan.json"
    )
    return result


def _speed_here(training, config):
    """FLOP/s of the steps of a pretraining on this machine."""
    spec = training.spec
    noise = np.random.default_rng(0).integers(0, 256, [16, spec.image_size, spec.image_size, spec.channels], np.uint8)
    images_per_second, _, _ = measure(from_arrays(noise).train, spec.image_size, config)
    plain = dataclasses.replace(training, fit=dataclasses.replace(training.fit, queue=0, micro_batch_size=0))  # which was measured
    return images_per_second * plan_training(plain, config.precision)["step_flops"]
