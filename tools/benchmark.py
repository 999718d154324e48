"""Measures what the package promises as ratios, so that they mean the same on every machine.

    .venv/bin/python tools/benchmark.py [--rows=views_32,linear_eval] [--repeats=5] [--json PATH] [--picture PATH]

Both sides of a ratio are measured in one run, in pairs directly after one another; the table has the median, least and greatest of the
pairs. Each row runs in a process of its own. Nothing else should run beside it. Exit code 1 when a row failed; one that falls short of
what is wanted says so.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from benchmarks import AT_LEAST, MORE, ROWS, measure, timing

from tf_simclr.errors import UsageError


def choose(names):
    """The rows of these names (with commas; "" for `ROWS`) in the benchmark's order. Raises UsageError for a name that is none."""
    known = [row.name for row in ROWS + MORE]
    wanted = list(filter(None, names.split(","))) or known[: len(ROWS)]
    for name in wanted:
        if name not in known:
            raise UsageError(f"--rows must be of {', '.join(known)}, got {name!r}")
    return [row for row in ROWS + MORE if row.name in wanted]


def machine():
    """What the figures depend on."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "memory": memory,
        "system": platform.platform(),
        "python": platform.python_version(),
        "tensorflow": importlib.metadata.version("tensorflow"),
    }


def spread(numbers):
    """Median, least and greatest."""
    return {"median": statistics.median(numbers), "min": min(numbers), "max": max(numbers)}


def holds(value, bound, wanted):
    return value >= wanted if bound == AT_LEAST else value <= wanted


def judge(row, found):
    """What a row's function returned, as a row of the result; `met` where the median ratio and all that it also demands hold."""
    result = {"name": row.name, "what": row.what, "against_what": row.against, "bound": row.bound, "wanted": row.wanted}
    if "ratios" not in found:
        return {**result, "met": False, **found}
    ratio = spread(found["ratios"])
    also = [{**demand, "met": holds(demand["value"], demand["bound"], demand["wanted"])} for demand in found.get("also", ())]
    met = holds(ratio["median"], row.bound, row.wanted) and all(demand["met"] for demand in also)
    sides = {side: spread(found[side]) for side in ("ours", "against")}
    return {**result, **found, "ratio": ratio, "met": met, **sides, "also": also}


def describe(result):
    """A row of the result as lines of text."""
    missing = next((f"{kind}: {result[kind]}" for kind in ("skipped", "error") if kind in result), None)
    if missing:
        return [f"{result['name']:22} {missing}"]
    ratio, unit = result["ratio"], result["unit"]
    figures = f"{ratio['median']:8.3g}  {ratio['min']:.3g}–{ratio['max']:.3g}"
    verdict = "" if result["met"] else "  FALLS SHORT"
    sides = f"{result['ours']['median']:,.4g} against {result['against']['median']:,.4g} {unit}"
    lines = [f"{result['name']:22} {figures:24} {result['bound']} {result['wanted']:g}{verdict}  ({sides})"]
    for demand in result["also"]:
        verdict = "" if demand["met"] else "  FALLS SHORT"
        lines.append(f"{'':22} {demand['what']}: {demand['value']:.3g}, {demand['bound']} {demand['wanted']:g}{verdict}")
    return lines


def picture(results):
    """A matplotlib `Figure`: every ratio in terms of what is wanted of it; to the right of 1 it is met."""
    from matplotlib.figure import Figure

    shown = [result for result in results if "ratio" in result]
    figure = Figure((8, 1 + 0.4 * len(shown)), layout="constrained")
    axes = figure.subplots()
    for place, result in enumerate(shown):
        # A wait may be too short to be measured.
        parts = {name: max(value, 1e-4) / result["wanted"] for name, value in result["ratio"].items()}
        low, middle, high = sorted(value if result["bound"] == AT_LEAST else 1 / value for value in parts.values())
        axes.barh(place, middle, color="C0" if result["met"] else "C3")
        axes.plot([low, high], [place, place], "k|-")
        axes.text(max(high, 1) * 1.05, place, f"{result['ratio']['median']:.3g} ({result['bound']} {result['wanted']:g})", va="center")
    axes.axvline(1, color="k", linewidth=1)
    axes.set(xscale="log", xlabel="how many times what is wanted", yticks=range(len(shown)))
    axes.set_yticklabels([result["name"] for result in shown])
    axes.set_xlim(right=6 * axes.get_xlim()[1])  # for the words beside the longest bar
    axes.invert_yaxis()
    return figure


def attempt(row, repeats):
    """`measure` in a process of its own; {"error": one line} where it fails, so that the other rows still run."""
    try:
        return timing.apart(measure, row, repeats)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    more = ", ".join(row.name for row in MORE)
    parser.add_argument("--rows", default="", help=f"only these, with commas between them; only so {more} are run")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of measurements of every row")
    parser.add_argument("--json", type=pathlib.Path, help="write machine and rows to this file")
    parser.add_argument("--picture", type=pathlib.Path, help="write a PNG of the ratios to this file")
    arguments = parser.parse_args(argv)
    rows, results = choose(arguments.rows), []
    if arguments.repeats < 1:
        raise UsageError(f"--repeats must be at least 1, got {arguments.repeats}")
    for file in filter(None, (arguments.json, arguments.picture)):
        if not file.parent.is_dir():
            raise UsageError(f"--json and --picture must be files in a directory that is there, got {file}; make {file.parent}")
    for row in rows:
        results.append(judge(row, attempt(row, arguments.repeats)))
        print("\n".join(describe(results[-1])), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps({"machine": machine(), "rows": results}, indent=2) + "\n")
    if arguments.picture:
        picture(results).savefig(arguments.picture, format="png", dpi=120)
    return 1 if any("error" in result for result in results) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UsageError as error:
        print(f"benchmark.py: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
