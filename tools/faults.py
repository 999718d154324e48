"""The reliability scorecard: runs every case that tests/ marks as a fault and prints `case, outcome, seconds`.

    .venv/bin/python tools/faults.py [--cases R1,R9] [--times 3] [--json PATH]

Exit code 0 when every case passed every time. The cases are tests like any other (`@pytest.mark.fault("R1")`); the slow ones among them
run here alone.
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest  # noqa: E402

CASES = [f"R{number}" for number in range(1, 21)]
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)  # as `python -m pytest` has it


class Scorecard:
    """A pytest plugin that runs the cases in order and sums up the tests of each."""

    def __init__(self, cases):
        self._wanted = cases
        self._left = collections.Counter()
        self.rows = []

    def pytest_collection_modifyitems(self, items):
        cases = [item for item in items if item.get_closest_marker("fault")]
        items[:] = [item for item in sorted(cases, key=lambda item: int(_case(item)[1:])) if _case(item) in self._wanted]
        self._left.update(map(_case, items))

    def pytest_collectreport(self, report):
        if report.failed:
            print(f"{report.nodeid} could not be read: {report.longrepr}", file=sys.__stdout__)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = (yield).get_result()
        case = _case(item)
        if not self.rows or self.rows[-1]["case"] != case:
            self.rows.append({"case": case, "ok": True, "outcome": [], "seconds": 0.0})
        row = self.rows[-1]
        row["seconds"] += call.duration
        if report.failed or report.skipped:
            row["ok"] = False
            reason = str(call.excinfo.value).partition("\n")[0][:200]
            row["outcome"].append(f"{report.outcome}: {item.name} ({reason})")
        if report.when == "teardown":
            row["outcome"] += [words for key, words in item.user_properties if key == "outcome"]
            self._left[case] -= 1
            if not self._left[case]:
                row["outcome"] = "; ".join(dict.fromkeys(row["outcome"])) or "as required"
                row["seconds"] = round(row["seconds"], 1)
                print(f"{case}, {'ok' if row['ok'] else 'FAILED'}: {row['outcome']}, {row['seconds']}", file=sys.__stdout__, flush=True)


def _case(item):
    return item.get_closest_marker("fault").args[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default="", help="only these, with commas between them")
    parser.add_argument("--times", type=int, default=1, help="how often to run them all, each time in a process of its own")
    parser.add_argument("--json", type=pathlib.Path, help="write the rows (of the last time) here")
    arguments = parser.parse_args()
    if arguments.times > 1:
        again = [sys.executable, __file__, f"--cases={arguments.cases}", *([f"--json={arguments.json}"] if arguments.json else [])]
        return 1 if any([subprocess.run(again).returncode for _ in range(arguments.times)]) else 0
    wanted = list(filter(None, arguments.cases.split(","))) or CASES
    card = Scorecard(set(wanted))
    code = pytest.main(["-m", "fault", "-p", "no:terminal", str(ROOT / "tests")], [card])
    for case in wanted:
        if case not in {row["case"] for row in card.rows}:
            card.rows.append({"case": case, "ok": False, "outcome": "no test of it", "seconds": 0.0})
            print(f"{case}, FAILED: no test of it, 0.0")
    print(f"{sum(row['ok'] for row in card.rows)} of {len(card.rows)} cases, {sum(row['seconds'] for row in card.rows):.0f} s", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": card.rows}, indent=2) + "\n")
    return 0 if code == 0 and all(row["ok"] for row in card.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
