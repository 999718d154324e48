"""CSV files of paths and labels, in every form that people write them."""

import numpy as np
import pytest
from data import images

from tf_simclr.config import DataConfig
from tf_simclr.data import check, load_data
from tf_simclr.data.load import load_images
from tf_simclr.data.table import class_names_of
from tf_simclr.errors import UsageError


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A directory with a table's images, each different; whether all of an image decodes is for test_check.py, and takes long."""
    monkeypatch.setattr(check, "_undecodable", lambda *_: {})
    (tmp_path / "in").mkdir()
    for i in range(6):
        (tmp_path / "in" / f"{i}.png").write_bytes(images.encode(np.full([4, 5, 3], i, np.uint8)))
    return tmp_path


def load(home, text, name="table.csv", encoding="utf-8", **settings):
    (home / name).write_bytes(text.encode(encoding))
    return load_data(DataConfig(dataset="csv", data_dir=str(home / name), **settings))


def rows(source, home):
    """[(path relative to the table, class name or None)]"""
    labels = [-1] * len(source) if source.labels is None else source.labels
    names = [source.class_names[label] if label >= 0 else None for label in labels]
    return [(str(path).removeprefix(f"{home}/"), name) for path, name in zip(source.encoded, names)]


def refuse(message, home, text, **settings):
    with pytest.raises(UsageError, match=message) as caught:
        load(home, text, **settings)
    assert "\n" not in str(caught.value)


PLAIN = [("in/0.png", "dog"), ("in/1.png", "cat"), ("in/2.png", None)]


@pytest.mark.parametrize(
    "text",
    [
        "path,label\nin/0.png,dog\nin/1.png,cat\nin/2.png,\n",
        "in/0.png,dog\nin/1.png,cat\nin/2.png,\n",
        "in/0.png,dog\r\nin/1.png,cat\r\n\r\nin/2.png,",
        "Weight;CLASS;Image\n1;dog;in/0.png\n2;cat;in/1.png\n3;;in/2.png\n",
        "category\tFile_Name\ndog\tin/0.png\ncat\tin/1.png\n\tin/2.png\n",
        "\ufeffpath,label\nin/0.png,dog\nin/1.png,cat\nin/2.png,\n",
        ' filename , class_name \n"in/0.png" , dog\nin/1.png,"cat"\nin/2.png, \n',
    ],
    ids=["header", "no header", "line ends and blank lines", "order, case, semicolons", "tabs", "byte order mark", "blanks and quotes"],
)
def test_forms_of_one_table(home, text):
    data = load(home, text)
    assert rows(data.train, home) == PLAIN
    assert data.train.class_names == ("cat", "dog") and data.train.labels.tolist() == [1, 0, -1]
    assert data.evaluation is None and (data.train.size, data.train.channels) == (4, 3)


@pytest.mark.parametrize("text", ["in/3.png\nin/1.png\n", "file\nin/3.png\nin/1.png\n", "path,label\nin/3.png,\nin/1.png,\n"])
def test_a_table_without_labels_keeps_its_order(home, text):
    train = load(home, text).train
    assert rows(train, home) == [("in/3.png", None), ("in/1.png", None)]
    assert train.labels is None and train.class_names == ()


def test_a_first_row_may_look_like_a_header(home):
    """A file without a suffix, in capitals, of a class that is called as columns are."""
    (home / "in" / "0.png").rename(home / "in" / "IMG_0")
    train = load(home, "in/IMG_0,Label\nin/1.png,Other\n").train
    assert rows(train, home) == [("in/IMG_0", "Label"), ("in/1.png", "Other")]


@pytest.mark.parametrize(
    ("text", "train"),
    [
        ("path,label,set,split\nin/0.png,a,,train\nin/1.png,a,,test\n", ["in/0.png"]),
        ("path,label,set\nin/0.png,a,morning\nin/1.png,a,test\n", ["in/0.png", "in/1.png"]),
        ("in/0.png,a,\nin/1.png,a,\n", ["in/0.png", "in/1.png"]),
    ],
    ids=["set beside split", "set means something else", "a delimiter at the end of each line"],
)
def test_columns_that_are_no_split(home, text, train):
    assert [path for path, _ in rows(load(home, text).train, home)] == train


@pytest.mark.parametrize("text", ["path,label,split\nin/0.png,a,fold1\nin/1.png,b,2\n", "in/0.png,a,fold1\nin/1.png,b,2\n"])
def test_splits_mean_nothing_where_all_are_looked_at(home, text):
    (home / "table.csv").write_text(text)
    assert len(load_images(DataConfig(data_dir=str(home / "table.csv")))) == 2


def test_columns_that_are_no_labels_are_named(home, caplog):
    assert load(home, "path,species\nin/0.png,dog\nin/1.png,cat\n").train.labels is None
    assert "no column of labels (label, class, class_name, category) in " in caplog.text and "but species: images have none" in caplog.text


def test_paths_are_relative_to_the_table_or_absolute(home, monkeypatch):
    monkeypatch.chdir(home / "in")
    (home / "table.csv").write_text(f"0.png\n{home}/in/1.png\n../in/2.png\n")
    (home / "table.csv").rename(home / "in" / "table.csv")
    for location, start in (("table.csv", ""), (f"{home}/in/table.csv", f"{home}/in/")):
        train = load_data(DataConfig(dataset="csv", data_dir=location)).train
        assert [path.rpartition("/")[2] for path in train.encoded] == ["0.png", "1.png", "2.png"]
        assert [train.name(i) for i in range(2)] == [f"{start}0.png", f"{home}/in/1.png"], "as the table and its place are given"


def test_numbers_are_classes_in_the_order_of_their_value(home):
    train = load(home, "".join(f"in/{i}.png,{label}\n" for i, label in enumerate([10, 9, -1, 100, 9]))).train
    assert train.class_names == ("-1", "9", "10", "100") and train.labels.tolist() == [2, 1, 0, 3, 1]
    assert load(home, "in/0.png,10\nin/1.png,9\nin/2.png,x\n").train.class_names == ("10", "9", "x")


def test_two_spellings_of_a_number_have_one_order():
    """The order of a set of texts changes from process to process, that of classes must not."""
    for labels in (["1", "01", "001", "0"], ["001", "0", "01", "1"], ["01", "001", "1", "0"]):
        assert class_names_of(dict.fromkeys(labels).keys(), ()) == ("0", "001", "01", "1")


SPLIT = "path,label,split\nin/0.png,a,train\nin/1.png,b,\nin/2.png,c,Train\nin/3.png,{three},{test}\nin/4.png,b,{test}\n"


@pytest.mark.parametrize("test", ["test", "VAL", "valid", "validation", "Testing", "dev"])
def test_a_column_of_splits(home, test):
    data = load(home, SPLIT.format(three="b", test=test))
    assert rows(data.train, home) == [("in/0.png", "a"), ("in/1.png", "b"), ("in/2.png", "c")]
    # The classes are those of training, though the test images are all of one.
    assert rows(data.evaluation, home) == [("in/3.png", "b"), ("in/4.png", "b")]
    assert data.evaluation.class_names == ("a", "b", "c") and data.evaluation.labels.tolist() == [1, 1]


def test_test_comes_before_val_and_neither_is_trained_on(home):
    data = load(home, "path,label,set\nin/0.png,a,val\nin/1.png,a,test\nin/2.png,a,train\nin/3.png,a,extra\n")
    assert rows(data.train, home) == [("in/2.png", "a"), ("in/3.png", "a")] and rows(data.evaluation, home) == [("in/1.png", "a")]


def test_a_labelled_val_is_scored_on_where_test_has_no_labels(home):
    data = load(home, "path,label,split\nin/0.png,a,train\nin/1.png,a,val\nin/2.png,,test\n , ,\n")  # and a last line of nothing
    assert rows(data.train, home) == [("in/0.png", "a")] and rows(data.evaluation, home) == [("in/1.png", "a")]


def test_a_second_table_for_evaluation(home):
    train, plain, split = "in/0.png,a\nin/1.png,b\n", "in/2.png,b\n", "path,label,split\nin/3.png,a,train\nin/4.png,a,test\n"
    for name, text, found in (("plain.csv", plain, "in/2.png"), ("split.csv", split, "in/4.png")):
        (home / name).write_text(text)
        data = load(home, train, eval_data_dir=str(home / name))
        assert [path for path, _ in rows(data.evaluation, home)] == [found] and data.evaluation.class_names == ("a", "b")


def test_evaluation_needs_a_known_label_in_every_row(home):
    refuse("classes in the same order, 3 classes \\(a, b, c\\), got 2 classes \\(b, d\\)", home, SPLIT.format(three="d", test="test"))
    refuse("evaluation data must have labels, got 1 images without one", home, SPLIT.format(three="", test="test"))
    (home / "eval.csv").write_text("in/3.png\n")
    refuse("must have labels, got images without labels", home, "in/0.png,a\nin/1.png,b\n", eval_data_dir=str(home / "eval.csv"))


def test_missing_files_are_bad_images(home):
    text = "in/0.png,a\nin/1.png,b\nin/nowhere.png,a\nin,a\n"
    data = load(home, text, max_bad_fraction=0.5)
    assert rows(data.train, home) == [("in/0.png", "a"), ("in/1.png", "b")]
    assert data.bad == (
        (f"{home}/in/nowhere.png", "cannot be read: No such file or directory"),
        (f"{home}/in", "cannot be read: Is a directory"),
    )
    refuse("at most 1.00% of the images may be bad, got 2 of 4 .*nowhere.png: cannot be read", home, text)
    data = load(home, "in/0.png,a\nin/1.png,b\nin/nowhere.png,\n", max_bad_fraction=0.5)  # without a label it is of no class
    assert data.train.labels.tolist() == [0, 1] and len(data.bad) == 1
    refuse("got only bad ones of class b", home, "in/0.png,a\nin/nowhere.png,b\n", max_bad_fraction=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nin/0.png,a\n\nin/1.png,a\nin/0.png,b\n", "in/0.png in lines 2 and 5; drop one"),
        ("path,label,split\nin/0.png,a,train\nin/1.png,b\n", "must have 3 columns, got 2 in line 3; complete it"),
        ("in/0.png,a\nin/1.png\n", "must have 2 columns, got 1 in line 2"),
        ("path,label,set\nin/0.png,a,train\nin/1.png,b\n", "must have 3 columns, got 2 in line 3; complete it"),
        ("", "at least one row of split train in .*table.csv, got none"),
        ("path,label\n", "at least one row of split train"),
        ("path,label,split\nin/0.png,a,test\n", "at least one row of split train"),
        ("image_path,label\nin/0.png,a\n", "the paths is one of path, file, .*, got image_path, label; rename that column"),
        ("filepath,kind\nin/0.png,a\n", "the paths is one of path, file, .*, got filepath, kind; rename that column"),
        ("in,label\nin/0.png,a\n", "the paths is one of path, file, .*, got in, label; rename that column"),
        (",image_path,label\n0,in/0.png,a\n", "the paths is one of path, file, .*, got , image_path, label; rename"),
        ("photo.name,id,split\nin/0.png,1,train\n", "the paths is one of path, file, .*, got photo.name, id, split"),
        ("in/0.png,a,train\nin/1.png,b,test\n", "must name them in its first line, path,label,split .*, got in/0.png, a, train in .*table"),
        ("path,label,split\nin/0.png,a,train\nin/1.png,b,fold2\n", "empty or one of train, .*, test, .*, got 'fold2' in line 3 of .*table"),
    ],
    ids=["a path twice", "a column less", "no label", "no set", "empty", "only a header", "only a test split"]
    + ["a header of other words", "of unknown words alone", "of a word that is a folder", "of a data frame", "and a split"]
    + ["three columns without names", "another split"],
)
def test_tables_that_do_not_fit_are_refused(home, text, message):
    refuse(message, home, text)


@pytest.mark.parametrize(("encoding", "label"), [("latin-1", "Bär"), ("utf-16", "Bär"), ("utf-16-le", "Bear")])
def test_other_text_than_utf8_is_refused(home, encoding, label):
    refuse("needs a text file in UTF-8 that can be read, got .*table.csv", home, f"path,label\nin/0.png,{label}\n", encoding=encoding)


def test_a_directory_is_no_table(home):
    with pytest.raises(UsageError, match="^data_dir must be a file with dataset=csv, got the directory .*; give a file, or all data"):
        load_data(DataConfig(dataset="csv", data_dir=str(home)))
    refuse("^unlabeled_dir must be a file with dataset=csv, got the directory .*/in;", home, "in/0.png,a\n", unlabeled_dir=str(home / "in"))
