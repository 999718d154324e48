"""What a stranger does with exports, in a process that has TensorFlow and TensorFlow Hub alone; run by test_reusable.py.

    python -I use_by_hub.py DIRECTORY

The directory holds export/, shipped/ (exports) and images.npz; what was seen is left in found.npz.
"""

import pathlib
import sys

sys.modules["tf_simclr"] = None  # importing it fails

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tensorflow_hub as hub  # noqa: E402

root = pathlib.Path(sys.argv[1])
export, images = str(root / "export"), {name: tf.constant(x) for name, x in np.load(root / "images.npz").items()}
x, labels, found = images["native"], np.arange(len(images["native"])) % 3, {}


def state(variables):
    return [v.numpy() for v in variables]


def changed(before, variables):
    return np.array([not np.array_equal(old, v.numpy()) for old, v in zip(before, variables)])


model = hub.load(export)  # tf.saved_model.load, where the path is local
before = state(model.variables)
for size, batch in images.items():
    found[f"{size}/default"] = model(batch)
    for selector in range(3):
        found[f"{size}/{selector}"] = model(batch, training=False, selector=selector)
    found |= {f"{size}/released/{key}": value for key, value in model(batch, trainable=False).items()}
found["untouched"] = not changed(before, model.variables).any()
with tf.GradientTape() as tape:
    features = model(x, training=True, selector=2)
    loss = tf.reduce_sum(tf.square(features))
gradients = tape.gradient(loss, model.trainable_variables)
found["training"] = features
found |= {f"gradient/{i}": 0.0 if g is None else tf.convert_to_tensor(g) for i, g in enumerate(gradients)}
found |= {f"after/{i}": v.numpy() for i, v in enumerate(model.variables)}
for variable, value in zip(model.variables, before):
    variable.assign(value)
found["released in training"] = model(x, trainable=True)["final_avg_pool"]
found |= {f"after released/{i}": v for i, v in enumerate(model.variables)}
found["regularization_losses"] = len(model.regularization_losses)
found["shipped/names"] = np.array(sorted(hub.load(str(root / "shipped"))(tf.zeros([1, 28, 28, 1]), trainable=False)))

for name, choice, trainable in (
    ("plain", None, True),
    ("frozen", None, False),
    ("selector", {"selector": 1}, True),
    ("released", {"trainable": False}, True),
):
    layer = hub.KerasLayer(export, trainable=trainable, arguments=choice)
    inputs = tf.keras.Input([None, None, 3])
    outputs = layer(inputs)
    outputs = outputs["final_avg_pool"] if name == "released" else outputs
    found[f"{name}/output"] = tf.keras.Model(inputs, outputs)(images["wide"])
    found[f"{name}/trainable"] = len(layer.trainable_variables)
    above = tf.keras.layers.Dense(3)
    model = tf.keras.Sequential([inputs, layer, above]) if name == "selector" else tf.keras.Model(inputs, above(outputs))
    model.compile("sgd", tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = state(layer.resolved_object.variables)
    model.fit(x, labels, batch_size=4, epochs=1, verbose=0)
    found[f"{name}/changed"] = changed(before, layer.resolved_object.variables)
    if name == "selector":
        found["saved/expected"] = model(images["wide"])
        model.save(root / "again", save_format="tf")
        found["saved/found"] = tf.saved_model.load(str(root / "again"))(images["wide"])

assert not [name for name in sys.modules if name.startswith("tf_simclr.")]
np.savez(root / "found.npz", **{name: np.asarray(value) for name, value in found.items()})
