"""R20: an export does not touch files, and one that is not as it was written is refused before anything of it is loaded."""

import json
import pathlib
import re
import shutil
import sys

import pytest
import tensorflow as tf

import tf_simclr
from tf_simclr import durable, shipped
from tf_simclr.errors import UsageError
from tf_simclr.export import load
from tf_simclr.export.saved_model import CARD, CARD_TEXT

pytestmark = pytest.mark.fault("R20")


@pytest.fixture
def copy(exported, tmp_path):
    shutil.copytree(exported[1], tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture
def refused(monkeypatch):
    """The line with which `load_export` refuses a directory; nothing may be loaded."""

    def refused(directory, sha256=None):
        with monkeypatch.context() as patched:
            patched.setattr(tf.saved_model, "load", lambda *_, **__: pytest.fail("loaded before it was checked"))
            with pytest.raises(UsageError) as error:
                tf_simclr.load_export(directory, sha256=sha256)
        assert "\n" not in str(error.value)
        return str(error.value)

    return refused


def seal_again(directory):
    """A manifest that fits, as one who changes files writes it."""
    (directory / durable.MANIFEST).unlink()
    durable.seal(directory, {})


def edit_manifest(change):
    def edit(directory):
        manifest = json.loads((directory / durable.MANIFEST).read_text())
        change(manifest["files"])
        (directory / durable.MANIFEST).write_text(json.dumps(manifest))

    return edit


def flip(name):
    def edit(directory):
        content = bytearray((directory / name).read_bytes())
        content[len(content) // 2] ^= 1
        (directory / name).write_bytes(content)

    return edit


def add(name, content=b"x"):
    def edit(directory):
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_bytes(content)

    return edit


WEIGHTS, INDEX, GRAPH = "variables/variables.data-00000-of-00001", "variables/variables.index", "saved_model.pb"
UNREAD = "manifest.json cannot be read"
TAMPERINGS = {
    "weights": (flip(WEIGHTS), f"{WEIGHTS} has other content than was written"),
    "weights cut short": (lambda d: (d / WEIGHTS).write_bytes((d / WEIGHTS).read_bytes()[:-1]), "bytes instead of"),
    "graph": (flip(GRAPH), f"{GRAPH} has other content than was written"),
    "graph of another export": (
        lambda d: shutil.copy(shipped.locate("pretrained:fashion_mnist") / "export" / GRAPH, d),
        "bytes instead of",
    ),
    "card": (lambda d: (d / CARD).write_text((d / CARD).read_text().replace("left", "ripe")), f"{CARD} has other content"),
    "removed weights": (lambda d: (d / WEIGHTS).unlink(), f"{WEIGHTS} is missing"),
    "removed graph": (lambda d: (d / GRAPH).unlink(), f"{GRAPH} is missing"),
    "removed card": (lambda d: (d / CARD).unlink(), f"an export is a directory with {CARD}"),
    "removed text": (lambda d: (d / CARD_TEXT).unlink(), f"{CARD_TEXT} is missing"),
    "removed manifest": (lambda d: (d / durable.MANIFEST).unlink(), UNREAD),
    "added variables": (add("variables/variables.data-00001-of-00002"), "'variables/variables.data-00001-of-00002' besides"),
    "added variables below": (add("variables/more/x"), "'variables/more/x' besides"),
    "added asset": (add("assets/names.txt"), "'assets/names.txt' besides"),
    "added text of a graph": (add("saved_model.pbtxt"), "'saved_model.pbtxt' besides"),
    "added graph in parts": (add("saved_model.cpb"), "'saved_model.cpb' besides"),
    "manifest without weights": (edit_manifest(lambda files: files.pop(WEIGHTS)), f"{WEIGHTS!r} besides"),
    "manifest without graph": (edit_manifest(lambda files: files.pop(GRAPH)), f"must name {GRAPH}"),
    "manifest without files": (edit_manifest(lambda files: files.clear()), f"must name {CARD}"),
    "manifest of another size": (edit_manifest(lambda files: files[GRAPH].update(bytes=1)), "bytes instead of 1"),
    "manifest of another digest": (edit_manifest(lambda files: files[GRAPH].update(sha256="0" * 64)), f"{GRAPH} has other content"),
    "manifest with a digest that is none": (edit_manifest(lambda files: files[GRAPH].update(sha256=[])), f"{GRAPH} has other content"),
    "manifest that leads out": (edit_manifest(lambda files: files.update({"../other": files[GRAPH]})), UNREAD),
    "manifest that leads out on the way": (
        edit_manifest(lambda files: files.update({"variables/../../other": files[GRAPH]})),
        UNREAD,
    ),
    "manifest of an absolute path": (
        edit_manifest(lambda files: files.update({"/etc/passwd": files[GRAPH]})),
        UNREAD,
    ),
    "manifest of no file": (edit_manifest(lambda files: files.update({"a\0b": files[GRAPH]})), "is missing"),
    "manifest of other types": (edit_manifest(lambda files: files.update({GRAPH: 5})), UNREAD),
    "manifest like a list": (add(durable.MANIFEST, b"[]"), UNREAD),
    "manifest of depths": (add(durable.MANIFEST, 100_000 * b"["), UNREAD),
    "manifest of noise": (add(durable.MANIFEST, bytes(range(256))), UNREAD),
}


@pytest.mark.parametrize("case", TAMPERINGS)
def test_what_is_not_as_it_was_written_is_refused(case, copy, refused, outcome):
    tamper, words = TAMPERINGS[case]
    load.check_export(copy)
    tamper(copy)
    assert words in refused(copy)
    outcome(f"{len(TAMPERINGS)} changes of weights, graph, card, files or manifest: refused before loading")


def test_a_manifest_that_fits_changed_files_is_not_the_one_that_was_announced(copy, refused, outcome):
    digest = durable.sha256(copy / durable.MANIFEST)
    load.check_export(copy, sha256=digest)
    load.check_export(copy, sha256=f"{digest.upper()}\n")  # as another program may spell it
    flip(WEIGHTS)(copy)
    seal_again(copy)
    load.check_export(copy)
    assert f"must have SHA-256 {digest}" in refused(copy, sha256=digest)
    outcome("files and manifest changed alike: refused by sha256=")


def read_file(name):
    return tf.io.read_file(name)


def write_file(name):
    with tf.control_dependencies([tf.io.write_file(name, "x")]):
        return tf.identity(name)


def run_python(name):
    return tf.numpy_function(lambda name: name, [name], tf.string)


def in_a_data_set(name):
    return tf.data.TextLineDataset(name).batch(9).get_single_element()


def in_a_branch_of_a_map(name):
    def body(name):
        return tf.cond(tf.strings.length(name) > 3, lambda: tf.io.read_file(name), lambda: name)

    return tf.data.Dataset.from_tensors(name).map(body).get_single_element()


def by_the_saver(name):
    return tf.raw_ops.RestoreV2(prefix=name, tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.string])[0]


BODIES = {
    read_file: "ReadFile",
    write_file: "WriteFile",
    run_python: "PyFunc",
    in_a_data_set: "TextLineDataset",
    in_a_branch_of_a_map: "ReadFile",
    by_the_saver: "RestoreV2",
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_a_graph_that_would_touch_files_is_refused_though_its_manifest_fits(body, copy, tmp_path, refused, outcome):
    module = tf.Module()
    module.v = tf.Variable(1.0)
    module.serve = tf.function(body, input_signature=[tf.TensorSpec([], tf.string)])
    shutil.rmtree(copy / "variables")
    tf.saved_model.save(module, str(copy))
    seal_again(copy)
    said = refused(copy)
    assert re.search(f"no file or Python operations, but .* has (.*, )?(Eager)?{BODIES[body]}[A-Za-z0-9]*; do not load it", said), said
    outcome("operations on files or of Python, in functions, branches and data pipelines: refused")


def test_a_graph_that_is_none_is_refused(copy, refused):
    (copy / GRAPH).write_bytes(b"\xff" * 100)
    seal_again(copy)
    assert "cannot be read; export again" in refused(copy)


@pytest.mark.parametrize("which", ["shipped", "exported"])
def test_an_export_touches_no_files_and_names_no_paths(which, exported, outcome):
    directory = exported[1] if which == "exported" else shipped.locate("pretrained:fashion_mnist") / "export"
    kinds = load.operations(directory)
    assert {"Conv2D", "DecodePng"} <= kinds, "nothing was looked at"
    assert not [kind for kind in kinds if re.search("File|Py|Save|Restore|Print|Load", kind)]
    here = {str(pathlib.Path(place).resolve()).encode() for place in (tf_simclr.__path__[0], sys.prefix, pathlib.Path.home(), exported[1])}
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        content = path.read_bytes()
        assert not [place for place in here if place in content], path
        if path.name != pathlib.Path(WEIGHTS).name:  # in those any bytes may stand
            assert not re.findall(rb"(?<![\w.:/<>\-])(?:/[\w.\-]+){2,}|[A-Za-z]:\\\\\w", content), path
    outcome("no operations on files, no path of a machine in any file")


def test_a_path_that_tensorflow_takes_for_a_pattern(copy, refused):
    assert "without [ and" in refused(copy.rename(copy.with_name("export[1]")))
