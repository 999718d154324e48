"""R18: requests that no client should send. The process lives, memory stays, a bad image has a status and its neighbours an answer."""

import io
import shutil
import zlib

import numpy as np
import pytest
import tensorflow as tf
from data.images import encode
from PIL import Image

from tf_simclr import shipped
from tf_simclr.data import decode

pytestmark = pytest.mark.fault("R18")

SEED = 18
GROWN, PEAK, SECONDS = 32, 128, 10  # megabytes; 30,000² pixels would be 900 and more


def animation(frames, size=(9, 7)):
    """A GIF of so many frames, each of another colour."""
    file = io.BytesIO()
    images = [Image.new("P", size, i % 256) for i in range(frames)]
    for image in images:
        image.putpalette(np.random.RandomState(0).bytes(768))
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], optimize=False)
    return file.getvalue()


def pictures():
    """One image of each format, 31 x 40."""
    smooth = np.linspace(0, 255, 31 * 40 * 3).reshape(31, 40, 3).astype(np.uint8)
    return {kind: encode(np.roll(smooth, 200 * i), kind) for i, kind in enumerate(("PNG", "JPEG", "GIF", "BMP"))}


def announcing(width, height):
    """Images whose headers claim that size, but have no pixels for it."""
    good = pictures()
    head = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + good["PNG"][24:29]
    start = good["JPEG"].index(b"\xff\xc0") + 5
    little = [side.to_bytes(4, "little") for side in (width, height)]
    return [
        good["PNG"][:12] + head + zlib.crc32(head).to_bytes(4, "big") + good["PNG"][33:],
        good["JPEG"][:start] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + good["JPEG"][start + 4 :],
        good["GIF"][:6] + little[0][:2] + little[1][:2] + good["GIF"][10:],
        good["BMP"][:18] + little[0] + little[1] + good["BMP"][26:],
    ]


def mutated(count):
    """So many [(content, whether it cannot be an image whatever chance did)]."""
    rng, good = np.random.default_rng(SEED), list(pictures().values())

    def cut(content):
        return content[: int(len(content) * rng.uniform(0, 0.7))], True

    def flip(content):
        changed = bytearray(content)
        for at in rng.integers(0, len(changed), rng.integers(1, 20)):
            changed[at] ^= 1 << rng.integers(8)
        return bytes(changed), False

    def edit_header(content):
        changed = bytearray(content)
        for at in rng.integers(2, 40, rng.integers(1, 6)):
            changed[at] = rng.integers(256)
        return bytes(changed), False

    def insert(content):
        at = rng.integers(0, len(content))
        return content[:at] + rng.bytes(rng.integers(1, 200)) + content[at:], False

    def mix(content):
        other = good[rng.integers(len(good))]
        return content[: rng.integers(2, 60)] + other[rng.integers(0, 60) :], False

    def random(content):
        return content[: rng.integers(0, 3)] + rng.bytes(rng.integers(0, 2000)), False

    ways = (cut, flip, edit_header, insert, mix, random)
    certain = [*announcing(30_000, 30_000), *announcing(65_535, 65_535)]
    certain += [b"", b"\0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff", b"BM"]
    blocks = good[2].index(b"\x2c")
    certain += [good[0] + bytes(100_000), good[2][:blocks] + b"\x21\xfe" + 45_000 * b"\1x" + b"\0" + good[2][blocks:]]
    images = [(content, True) for content in certain]
    return images + [ways[i % len(ways)](good[rng.integers(len(good))]) for i in range(count - len(images))]


@pytest.fixture(scope="module", params=[100, pytest.param(500, marks=pytest.mark.slow)])
def bad(request):
    return mutated(request.param)


@pytest.fixture(scope="module")
def answers(exported, bad, alone, tmp_path_factory):
    """What `send_requests.py` was told."""
    folder = tmp_path_factory.mktemp("requests")
    shutil.copytree(exported[1], folder / "export")
    shutil.copytree(shipped.locate("pretrained:fashion_mnist") / "export", folder / "shipped")
    contents = {"good": [*pictures().values(), animation(100)], "bad": [content for content, _ in bad], "huge": announcing(30_000, 30_000)}
    for name, value in contents.items():
        np.savez(folder / f"{name}.npz", contents=np.array(value, object))
    alone("send_requests.py", folder)
    with np.load(folder / "answers.npz", allow_pickle=True) as answered:
        return dict(answered)


OUTPUTS = ("probabilities", "logits", "features", "class_index", "class_name", "status")


def check_unanswered(answers, name, i):
    assert not any(answers[f"{name}/{numbers}"][i].any() for numbers in ("probabilities", "logits", "features"))
    assert answers[f"{name}/class_index"][i] == -1 and answers[f"{name}/class_name"][i] == b""


def test_mutated_images(exported, bad, answers, outcome):
    network, _ = exported

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    @tf.autograph.experimental.do_not_convert
    def read(content):
        return decode.resize_to_square(decode.read(content, 3, max_pixels=1_000_000), 12)

    expected = {name: answers[f"between/{name}"] for name in OUTPUTS}
    assert set(expected["status"]) == {b"ok"}
    for name in OUTPUTS:
        for place in (0, 2):
            assert (answers[f"bad/{name}"][:, place] == expected[name][place]).all(), "a neighbour has another answer"
    readable, squares = [], []
    for i, (content, certain) in enumerate(bad):
        said = answers["bad/status"][i, 1]
        try:
            assert 0 < len(content) <= 100_000
            square = read(content)
        except (AssertionError, tf.errors.OpError):
            assert said.startswith(b"must "), said
            check_unanswered({name: values[:, 1] for name, values in answers.items() if name.startswith("bad/")}, "bad", i)
        else:
            assert said == b"ok" and not certain, (i, content[:40])
            readable.append(i)
            squares.append(square)
    assert 4 < len(readable) < len(bad) / 2, "too few or too many images survive: the test shows little"
    np.testing.assert_allclose(answers["bad/logits"][readable, 1], network(tf.stack(squares))["logits"], atol=1e-4)
    outcome(f"{len(bad)} mutated images: {len(bad) - len(readable)} with a status, neighbours answered as before")


def test_time_and_memory(answers, outcome):
    assert answers["longest"] < SECONDS
    assert answers["grown"] < GROWN and answers["peak"] < PEAK
    assert all(status.startswith(b"must be a whole image") for status in answers["huge"])
    outcome(f"memory grew by {max(0, answers['grown']):.0f} MB, at most {answers['peak']:.0f} MB; longest {answers['longest']:.1f} s")


def test_whole_requests_are_refused(answers, outcome):
    refused = {name: str(said) for name, said in answers.items() if name.startswith("refused/")}
    assert not [name for name, said in refused.items() if said == "answered"]
    for name, words in {"channels": "1 or 3 channels", "no": "1 to 1000000 pixels", "too many images": "at most 8 images"}.items():
        assert any(words in said for said in refused.values()), name
    assert "at most 8 images" in refused["refused/too many strings"] and "1000000 pixels" in refused["refused/too many pixels"]
    outcome(f"{len(refused)} requests of wrong rank, type, size or number: refused")


def test_pixels_out_of_bounds(answers):
    fine = "pixels/fine"
    assert set(answers[f"{fine}/status"]) == {b"ok"}
    for name in ("nan", "inf", "-inf", "bytes", "negative", "largest"):
        case = f"pixels/{name}"
        finite = name not in ("nan", "inf", "-inf")
        assert answers[f"{case}/status"][1].startswith(b"pixels must be in [0, 1]" if finite else b"pixels must be finite")
        check_unanswered(answers, case, 1)
        for output in OUTPUTS:
            assert (answers[f"{case}/{output}"][[0, 2]] == answers[f"{fine}/{output}"][[0, 2]]).all()


def test_smallest_requests(answers):
    for name in ("none", "no strings"):
        assert [len(answers[f"{name}/{output}"]) for output in OUTPUTS] == [0] * len(OUTPUTS)
    for name in ("point", "line"):
        assert answers[f"{name}/status"] == [b"ok"] and np.isfinite(answers[f"{name}/logits"]).all()


def test_a_golden_request_afterwards(exported, answers, outcome):
    network, _ = exported
    squares = [decode.resize_to_square(decode.read(content, 3), 12) for content in (*pictures().values(), animation(100))]
    np.testing.assert_allclose(answers["golden/logits"], network(tf.stack(squares))["logits"], atol=1e-4)
    for name in OUTPUTS:
        np.testing.assert_array_equal(answers[f"afterwards/{name}"], answers[f"golden/{name}"])
    outcome("then a golden request has exactly its golden answer")
