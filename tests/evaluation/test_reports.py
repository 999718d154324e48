"""Reports: files that parse, with the numbers they were given."""

import json
import statistics

import numpy as np
import pytest
from PIL import Image

from tf_simclr.evaluation.comparison import format_table, summarise, write_comparison
from tf_simclr.evaluation.metrics import score
from tf_simclr.evaluation.report import write_report


def _scores(classes, images=300):
    rng = np.random.default_rng(classes)
    return score(rng.dirichlet(np.full(classes, 0.3), images), rng.integers(0, classes, images), [f"class|{k}" for k in range(classes)])


@pytest.mark.parametrize("classes", [2, 10, 30, 250])
def test_evaluation(tmp_path, classes):
    scores = _scores(classes)
    write_report(tmp_path / "new" / "report", scores, "A title")
    assert json.loads((tmp_path / "new/report/evaluation.json").read_text()) == scores
    text = (tmp_path / "new/report/evaluation.md").read_text()
    assert text.startswith("# A title\n")
    assert f"| Top-1 accuracy | {100 * scores['top1']:.2f} |" in text
    assert ("Top-5" in text) == (classes > 5)
    assert f"| class\\|{classes - 1} |" in text
    i, j = divmod(int(np.argmax(np.array(scores["confusion"]) * (1 - np.eye(classes)))), classes)
    assert f"| class\\|{i} | class\\|{j} | {scores['confusion'][i][j]} |" in text
    row = f"| class\\|{i} | " + " | ".join(map(str, scores["confusion"][i])) + " |"
    assert (row in text.splitlines()) == (classes <= 30)
    with Image.open(tmp_path / "new/report/evaluation.png") as picture:
        assert min(picture.size) > 400 and len(set(picture.convert("L").resize([80, 40]).tobytes())) > 10


def test_summary():
    row = summarise("finetune", 100, 78_000, {1: 71.0, 2: 74.0, 3: 72.5}, 12.0)
    assert row["accuracy"] == pytest.approx(72.5) and row["std"] == pytest.approx(1.5)
    assert row["by_seed"] == {"1": 71.0, "2": 74.0, "3": 72.5}
    assert summarise("student", 100, 5, {"1": 70.0}, 1.0)["std"] == 0.0


def test_table_is_aligned():
    rows = [summarise("supervised", 100, 77_964, {1: 71.0, 2: 73.0}, 95.4), summarise("a_longer_name", 8_000, 1_200_000, {1: 90.25}, 1200)]
    head, rule, first, second = format_table(rows).splitlines()
    assert len(head) == len(rule) == len(first)
    assert first.split() == ["supervised", "100", "77,964", "72.0", "±", f"{statistics.stdev([71, 73]):.1f}", "95"]
    assert second.split() == ["a_longer_name", "8,000", "1,200,000", "90.2", "1,200"]
    assert first.index("72.0") == second.index("90.2")


def test_comparison(tmp_path):
    rows = [summarise("supervised", 100, 77_964, {1: 71.0, 2: 73.0}, 95.4), summarise("student", 100, 900, {1: 75.5}, 10)]
    write_comparison(tmp_path / "report", rows)
    assert json.loads((tmp_path / "report/results.json").read_text()) == {"rows": rows}
    lines = (tmp_path / "report/results.md").read_text().splitlines()
    assert "| supervised | 100 | 77,964 | 72.0 ± 1.4 | 95 | 71.0 | 73.0 |" in lines
    assert "| student | 100 | 900 | 75.5 | 10 | 75.5 |  |" in lines
    with Image.open(tmp_path / "report/results.png") as picture:
        assert min(picture.size) > 300
