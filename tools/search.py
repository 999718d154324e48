"""A small grid search for the settings of one stage, scored on a hold-out of the training split: the test set is never touched.

    python tools/search.py --flagfile=flags/quickstart.flags --stage=finetune \\
        --grid supervised_learning_rate=0.001,0.003 --grid supervised_steps=200,400 --label_seeds=1,2,3 --out=runs/search/supervised

Every combination runs once for each label seed with `--eval_on=holdout` (a stratified part of the *training* images, the same for
every seed, from which no label is drawn and no image trained on). All other arguments are those of `tf-simclr`. The table is
printed, best first, and written to OUT/search.json; a combination of which a training diverges is last and has no mean. A search that is
started again goes on where it stopped, and tries again what diverged.
"""

import argparse
import itertools
import json
import pathlib
import statistics
import sys

from absl import logging

import tf_simclr
from tf_simclr import cli
from tf_simclr.errors import NotFiniteError, UsageError

STAGES = ("finetune", "linear_eval", "distill")


def combinations(grids):
    """['a=1,2', 'b=3'] to [{'a': '1', 'b': '3'}, {'a': '2', 'b': '3'}]."""
    axes = [(name, values.split(",")) for name, _, values in (grid.partition("=") for grid in grids)]
    return [dict(zip([name for name, _ in axes], chosen)) for chosen in itertools.product(*(values for _, values in axes))]


def settings(rest, chosen, *more):
    """The `Config` of one combination."""
    return cli.parse([*rest, *(f"--{name}={value}" for name, value in chosen.items()), *more])


def check(rest, grid):
    """Raises UsageError when two combinations stand for the same settings, as a flag with a section's name would have won over the grid's,
    or when there is no accuracy to search by."""
    seen = {}
    for chosen in grid:
        stage = settings(rest, chosen).stage
        if stage not in STAGES:
            raise UsageError(f"--stage must be one that trains a classifier, {', '.join(STAGES)}, got {stage}; give one of them")
        first = seen.setdefault(settings(rest, chosen), chosen)
        if first is not chosen:
            raise UsageError(
                f"every combination must differ, but {first} and {chosen} give the same settings; name the section in --grid,"
                " as in finetune_learning_rate, where a flag file does"
            )


def accuracies(rest, chosen, seeds, out):
    """Accuracy in percent on the hold-out for every label seed, with one combination of settings; the last one None where it diverges."""
    found = {}
    for seed in seeds:
        name = "_".join([*(f"{key}={value}" for key, value in chosen.items()), f"seed={seed}"])
        fixed = [f"--run_dir={out / name}", f"--label_seed={seed}", f"--seed={seed}", "--eval_on=holdout"]
        try:
            found[seed] = tf_simclr.run(settings(rest, chosen, *fixed))["accuracy"]
        except NotFiniteError as error:
            logging.warning("%s: %s", name, error)
            found[seed] = None
            break
    return found


def numbers(text):
    """Whole numbers with commas between them."""
    return [int(part) for part in text.split(",")]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", action="append", required=True, help="NAME=VALUE,VALUE,… of a tf-simclr flag; may be repeated")
    parser.add_argument("--label_seeds", type=numbers, default="1,2,3", help="label draws, as numbers with commas")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="directory of the runs and of search.json")
    arguments, rest = parser.parse_known_args(argv)
    grid, rows = combinations(arguments.grid), []
    check(rest, grid)
    cli.prepare()
    for chosen in grid:
        found = accuracies(rest, chosen, arguments.label_seeds, arguments.out)
        whole = None not in found.values()
        spread = statistics.stdev(found.values()) if whole and len(found) > 1 else 0.0
        mean = statistics.mean(found.values()) if whole else None
        rows.append({"settings": chosen, "mean": mean, "std": spread, "by_seed": found})
        rows.sort(key=lambda row: -1.0 if row["mean"] is None else row["mean"], reverse=True)
        (arguments.out / "search.json").write_text(json.dumps({"arguments": rest, "rows": rows}, indent=2) + "\n")
    for row in rows:
        settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items())
        print(f"{row['mean']:6.2f} ± {row['std']:4.2f} %   {settings}" if row["mean"] is not None else f"      diverged   {settings}")


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        print(f"search.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
