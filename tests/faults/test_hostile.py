"""R19: input that would like to be code, a path or a command. Nothing of it is executed, nothing is written outside the run."""

import csv
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tiny
from data import images
from markdown_it import MarkdownIt
from PIL import Image

from tf_simclr import cli

pytestmark = [pytest.mark.usefixtures("short_resnet"), pytest.mark.fault("R19")]

NAMES = (
    *("../../evil", "a/b", "/etc/passwd", "$(touch pwned)", "`touch pwned`", "; touch pwned", "-rf", "| touch pwned", "%s {0} %(x)s"),
    *("$x$", r"$\frac{$", r"\frac{", "<script>touch()</script>", "a|b", r"a\|b", r"a\\", "&lt;", "*a* _b_ ~~c~~ [d](e) `f`", "# 1"),
    *(250 * "very " + "long", "ünïcödé 猫 🐈", "__import__('os')", '{"py/object": "os.system"}', "!!python/object/apply:os.system"),
)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """An empty working directory, where `touch pwned` would leave something."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def listing(root):
    """All that lies below a directory, but for the run in it: {path: content}."""
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if root / "work" / "run" not in (path, *path.parents)
    }


class Evil:
    """Unpickling one makes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.marker),)


@pytest.mark.parametrize("where", ["images", "labels", "class_names", "the file"])
def test_pickled_arrays_are_refused(where, tmp_path, work, refused, outcome):
    marker, pixels = tmp_path / "marker", np.zeros([4, 16, 16], np.uint8)
    if where == "the file":
        (tmp_path / "data.npz").write_bytes(pickle.dumps(Evil(marker)))
    else:
        arrays = {"images": pixels, "labels": np.arange(4), "class_names": list("abcd")} | {where: np.array([Evil(marker)] * 4, object)}
        np.savez(tmp_path / "data.npz", **arrays)
    said = refused("--stage=finetune", f"--data_dir={tmp_path / 'data.npz'}", "--eval_on=holdout", "--run_dir=run", *tiny.FLAGS)
    assert "without Python objects" in said and not marker.exists() and not any(work.iterdir())
    # It would have been made by a reader that trusts the file.
    loaded = np.load(tmp_path / "data.npz", allow_pickle=True)
    loaded if where == "the file" else loaded[where]
    assert marker.exists()
    outcome("pickled npz: refused, not loaded")


def write_npz(root):
    """Images of every class of NAMES, and a member that a careless reader would put elsewhere."""
    tiny.write_npz(root / "data.npz", tiny.images(2 * len(NAMES), 0)[0], np.arange(2 * len(NAMES)) % len(NAMES), NAMES)
    with zipfile.ZipFile(root / "data.npz", "a") as file:
        file.writestr("../../evil.npy", b"evil")
    return root / "data.npz", NAMES


def write_csv(root):
    """The same as a table, with rows that lead elsewhere."""
    rows = []
    for i, pixels in enumerate(tiny.images(2 * len(NAMES), 0)[0]):
        (root / f"{i}.png").write_bytes(images.encode(pixels))
        rows.append((f"{i}.png", NAMES[i % len(NAMES)]))
    rows += [(path, NAMES[0]) for path in ELSEWHERE]
    with (root / "data.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *rows])
    return root / "data.csv", tuple(sorted(NAMES))


ELSEWHERE = (
    "../../../../../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "/",
    "a\0b",
    "$(touch pwned)",
    "| touch pwned",
    "https://a/b.png",
)


@pytest.mark.parametrize("write", [pytest.param(write_npz, marks=pytest.mark.slow), write_csv])
def test_names_and_paths_are_only_text(write, tmp_path, work, outcome):
    location, names = write(tmp_path)
    before = listing(tmp_path)
    given = [f"--data_dir={location}", "--eval_on=holdout", "--max_bad_fraction=0.2", *tiny.FLAGS]
    assert cli.main(["--stage=finetune", "--run_dir=run", *given]) == 0
    for stage in ("evaluate", "export"):
        assert cli.main([f"--stage={stage}", "--from=run"]) == 0
    assert listing(tmp_path) == before
    if location.suffix == ".csv":
        with (work / "run" / "quarantine.csv").open(newline="") as file:
            bad = {row["path"] for row in csv.DictReader(file)}
        assert bad == {os.path.join(tmp_path, path) for path in ELSEWHERE}
    card = json.loads((work / "run" / "export" / "model_card.json").read_text(encoding="utf-8"))
    assert tuple(card["class_names"]) == names
    pixels = tiny.images(4, 1)[0][..., None].astype(np.float32) / 255
    answer = tf.saved_model.load("run/export").signatures["serving_default"](images=tf.constant(pixels))
    assert [name.decode() for name in answer["class_name"].numpy()] == [names[i] for i in answer["class_index"].numpy()]
    check_report(work / "run" / "report", names)
    outcome(f"{len(names)} class names and {len(ELSEWHERE)} paths like code or commands: only text, nothing outside the run")


def check_report(directory, names):
    """Reads the report as a browser would show it."""
    scores = json.loads((directory / "evaluation.json").read_text(encoding="utf-8"))
    assert tuple(row["name"] for row in scores["per_class"]) == names
    tokens = MarkdownIt("commonmark").enable("table").parse((directory / "evaluation.md").read_text(encoding="utf-8"))
    rows = []
    for opened, token in zip(tokens, tokens[1:]):
        if opened.type == "tr_open":
            rows.append([])
        if opened.type in ("td_open", "th_open"):
            assert all(part.type in ("text", "text_special") for part in token.children), token.content
            rows[-1].append("".join(part.content for part in token.children))
    start = rows.index(["class", "images", "accuracy (%)"])
    shown = rows[start + 1 : start + 1 + len(names)]
    assert [row[0] for row in shown] == list(names) and {len(row) for row in shown} == {3}
    with Image.open(directory / "evaluation.png") as picture:
        picture.load()


@pytest.mark.parametrize("name", ["a\nb", "a\r", "\x1b[2J", "a\u2028b", "\ud800", "same"], ids=ascii)
def test_names_that_are_no_line_of_text_are_refused(name, tmp_path, work, refused, outcome):
    tiny.write_npz(tmp_path / "data.npz", tiny.images(6, 0)[0], np.arange(6) % 2, [name, "same"])
    said = refused("--stage=finetune", f"--data_dir={tmp_path / 'data.npz'}", "--eval_on=holdout", "--run_dir=run", *tiny.FLAGS)
    assert said.isprintable() and repr(name) in said and "; rename" in said and not any(work.iterdir())
    outcome("class names with control characters, line breaks or halves of characters, or twice: refused")


@pytest.mark.slow
def test_the_line_that_uses_an_export_is_safe_for_a_shell(trained, work, caplog, outcome):
    home = """a $(touch pwned) `touch pwned` "b" 'c' ; touch pwned & ! *? {d,e} $HOME -rf"""
    with caplog.at_level("INFO", logger="absl"):
        assert cli.main(["--stage=export", f"--from={trained}", f"--run_dir={home}"]) == 0
    line = caplog.text.rstrip("\n").rpartition("\n")[2]
    content = images.encode(tiny.images(1, 2, size=16)[0][0])
    (work / "image.png").write_bytes(content)
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answer = tf.saved_model.load(home).signatures["serve_encoded"](encoded=tf.constant([content]))
    assert done.stdout.rpartition(" ")[0] == answer["class_name"].numpy()[0].decode()
    assert sorted(path.name for path in work.iterdir()) == sorted([home, "image.png"])
    outcome("usage line of an export in a directory like a command: classifies, executes nothing")


@pytest.mark.parametrize("home", ["a[1]", "a\\b", "\udcff"], ids=ascii)
def test_a_directory_that_tensorflow_takes_for_a_pattern_is_refused_first(home, trained, work, refused):
    """It would write checkpoints there, and not find them again."""
    data = f"--data_dir={trained.parent / 'data.npz'}"
    for arguments in (["--stage=pretrain", data, *tiny.FLAGS], ["--stage=export", f"--from={trained}"]):
        said = refused(*arguments, f"--run_dir={home}")
        assert "without [ and \\, " in said and said.endswith("give another one") and not any(work.iterdir())


TAG, YAML = {"py/object": "os.system", "py/reduce": ["touch pwned"]}, "!!python/object/apply:os.system ['touch pwned']"


def change(*path, value):
    """A change of one entry of the run's config.json."""

    def apply(text):
        whole = json.loads(text)
        part = whole
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = value
        return json.dumps(whole)

    return apply


CONFIGS = {
    "tag for the settings": (change("settings", value=TAG), "unknown key 'py/object' in settings"),
    "tag for a section": (change("settings", "data", value=TAG), "unknown key 'py/object' in settings.data"),
    "tag for a number": (change("settings", "seed", value=TAG), "seed must be int"),
    "tag for the architecture": (change("model", "depth", value=TAG), "depth must be int"),
    "tag for the classes": (change("class_names", value=TAG), "must hold class_names"),
    "tag for a class": (change("class_names", 0, value=TAG), "must hold class_names"),
    "tag beside the settings": (change("py/object", value="os.system"), "'py/object'"),
    "class beside the settings": (change("settings", "__class__", value="os.system"), "unknown key '__class__'"),
    "class in the architecture": (change("model", "__class__", value="os.system"), "unknown key '__class__'"),
    "YAML for the stage": (change("settings", "stage", value=YAML), "stage must be one of"),
    "YAML for the data": (change("settings", "data", "data_dir", value=YAML), "data_dir must be an existing path"),
    "YAML for the data set": (change("settings", "data", "dataset", value=YAML), "dataset must be one of"),
    "YAML for the selector": (change("selector", value=YAML), "must hold selector"),
    "YAML for the file": (lambda text: YAML, "cannot be read"),
    "list of settings": (change("settings", value=[]), "must hold settings"),
    "text for the labels": (change("label_indices", value=YAML), "must hold label_indices"),
    "NaN": (change("settings", "supervised", "learning_rate", value=float("nan")), "learning_rate must be a finite number, got nan"),
    "infinity": (change("model", "width", value=float("inf")), "width must be a finite number, got inf"),
    "infinite whole number": (change("settings", "seed", value=float("inf")), "seed must be int, got inf"),
    "key twice": (lambda text: text.replace('"selector":', '"selector": 1, "selector":'), "a key twice"),
    "depths": (lambda text: 100_000 * "[", "cannot be read"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_objects_in_a_config_are_refused_by_name(case, trained, work, refused, outcome):
    spoil, words = CONFIGS[case]
    shutil.copytree(trained, "run")
    path = pathlib.Path("run/config.json")
    path.write_text(spoil(path.read_text()))
    before = listing(work.parent)
    said = refused("--stage=evaluate", "--from=run")
    assert words in said and len(said) < 1000, said
    assert listing(work.parent) == before
    outcome(f"{len(CONFIGS)} object tags, wrong types and numbers in config.json: refused by name")


@pytest.mark.parametrize("line", [json.dumps(TAG), YAML, f"--seed={json.dumps(TAG)}", f"--stage={YAML}", f"--depth={YAML}"])
def test_objects_in_a_flag_file_are_refused(line, work, refused, outcome):
    pathlib.Path("evil.flags").write_text(f"{line}\n")
    said = refused("--flagfile=evil.flags")
    assert "must be" in said
    assert [path.name for path in work.iterdir()] == ["evil.flags"]
    outcome("object tags in a flag file: refused")


def test_a_lock_of_another_kind_is_taken_over(trained, work):
    shutil.copytree(trained, "run")
    for content in ("[]", json.dumps(TAG), YAML):
        pathlib.Path("run/lock.json").write_text(content)
        assert cli.main(["--stage=evaluate", "--from=run"]) == 0
