"""Sends what nobody should send to exported models, in a process that has TensorFlow alone; run by test_hostile_requests.py.

    python -I send_requests.py DIRECTORY

The directory holds export/, shipped/ (exports), good.npz and bad.npz (encoded images); what came back is left in answers.npz.
"""

import pathlib
import sys
import time

sys.modules["tf_simclr"] = None  # importing it fails

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

root = pathlib.Path(sys.argv[1])
model, shipped = (tf.saved_model.load(str(root / name)) for name in ("export", "shipped"))
good, bad, huge = (np.load(root / f"{name}.npz", allow_pickle=True)["contents"].tolist() for name in ("good", "bad", "huge"))
longest, answers = 0.0, {}


def ask(signature, served=model, **request):
    """The answer as arrays; keeps the longest time."""
    global longest
    begin = time.perf_counter()
    answer = {name: value.numpy() for name, value in served.signatures[signature](**request).items()}
    longest = max(longest, time.perf_counter() - begin)
    return answer


def between(content):
    """What is answered of an image between two good ones, and that of the neighbours."""
    return ask("serve_encoded", encoded=tf.constant([good[0], content, good[1]]))


def megabytes(what):
    """VmRSS, the memory held now, or VmHWM, the most since `forget_peak`."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def forget_peak():
    pathlib.Path("/proc/self/clear_refs").write_text("5")


golden = ask("serve_encoded", encoded=tf.constant(good))
answers |= {f"golden/{name}": value for name, value in golden.items()}
answers |= {f"between/{name}": value for name, value in between(good[2]).items()}
for content in bad[:100]:  # until everything that is ever made is made
    between(content)
for content in huge:
    ask("serve_encoded", shipped, encoded=tf.constant([content]))
longest = 0.0

forget_peak()
before, seen = megabytes("VmRSS"), [between(content) for content in bad]
answers |= {f"bad/{name}": np.stack([answer[name] for answer in seen]) for name in seen[0]}
answers["grown"] = megabytes("VmRSS") - before
answers["huge"] = np.concatenate([ask("serve_encoded", shipped, encoded=tf.constant([content]))["status"] for content in huge])
answers["peak"] = megabytes("VmHWM") - before

# Whole requests that cannot be answered.
pixels, text = tf.zeros([2, 9, 9, 3]), tf.constant(good[:2])
refused = {
    "rank 2": ("serving_default", {"images": pixels[0, 0]}),
    "rank 3": ("serving_default", {"images": pixels[0, :4]}),
    "rank 5": ("serving_default", {"images": pixels[None]}),
    "rank 5, as if of three channels": ("serving_default", {"images": tf.zeros([2, 9, 9, 3, 4])}),
    "rank 6": ("serving_default", {"images": tf.zeros([2, 9, 9, 3, 1, 1])}),
    "no channels": ("serving_default", {"images": pixels[..., :0]}),
    "two channels": ("serving_default", {"images": pixels[..., :2]}),
    "four channels": ("serving_default", {"images": tf.zeros([2, 9, 9, 4])}),
    "no rows": ("serving_default", {"images": pixels[:, :0]}),
    "no columns": ("embed", {"images": pixels[:, :, :0]}),
    "too many pixels": ("serving_default", {"images": tf.zeros([1, 1001, 1000, 1])}),
    "too many images": ("serving_default", {"images": tf.zeros([9, 9, 9, 3])}),
    "bytes": ("serving_default", {"images": tf.cast(pixels, tf.uint8)}),
    "double precision": ("serving_default", {"images": tf.cast(pixels, tf.float64)}),
    "strings for pixels": ("serving_default", {"images": text}),
    "another argument": ("serving_default", {"encoded": pixels}),
    "nothing": ("serve_encoded", {}),
    "one string": ("serve_encoded", {"encoded": text[0]}),
    "a table of strings": ("serve_encoded", {"encoded": text[None]}),
    "pixels for strings": ("serve_encoded", {"encoded": pixels}),
    "too many strings": ("serve_encoded", {"encoded": tf.fill([9], text[0])}),
}
for name, (signature, request) in refused.items():
    try:
        ask(signature, **request)
        answers[f"refused/{name}"] = "answered"
    except (TypeError, ValueError, tf.errors.OpError) as error:
        answers[f"refused/{name}"] = f"{type(error).__name__}: {error}"

# Pixels that no image has, between two that an image could have.
for name, value in {"nan": np.nan, "inf": np.inf, "-inf": -np.inf, "bytes": 255.0, "negative": -1.0, "largest": 3e38, "fine": 0.5}.items():
    images = np.full([3, 9, 9, 3], 0.25, np.float32)
    images[1, 4, 4, 1] = value
    answers |= {f"pixels/{name}/{key}": result for key, result in ask("serving_default", images=tf.constant(images)).items()}
for name, shape in {"none": [0, 9, 9, 3], "point": [1, 1, 1, 1], "line": [1, 1, 999_999, 1]}.items():
    answers |= {f"{name}/{key}": result for key, result in ask("serving_default", images=tf.zeros(shape)).items()}
answers |= {f"no strings/{key}": result for key, result in ask("serve_encoded", encoded=tf.zeros([0], tf.string)).items()}

answers |= {f"afterwards/{name}": value for name, value in ask("serve_encoded", encoded=tf.constant(good)).items()}
answers["longest"] = longest
np.savez(root / "answers.npz", **answers)
