"""The three objectives as Keras models with their own train steps.

Every step computes this replica's *share* of the loss over the global batch; shares and their gradients sum over the replicas,
which is what Keras optimizers do with gradients. Logged scalars are means over the replicas, so a share is logged times their count.
"""

import functools

import tensorflow as tf

from tf_simclr.augment import views
from tf_simclr.models.convolution import kernel_gradients
from tf_simclr.models.layers import recomputing
from tf_simclr.objectives.cross_entropy import distillation, supervised
from tf_simclr.objectives.nt_xent import nt_xent
from tf_simclr.objectives.replicas import replica_count
from tf_simclr.training import micro_batches

NOT_FINITE = "not finite: "


class Trainer(tf.keras.Model):
    """A network, and a train step that minimises `objective` (to be given by a subclass, with the names of its scalars).

    A step that meets NaN or infinity fails and names it. Compiled for an accelerator it cannot say anything: then, and
    where a gradient stays infinite however little the loss is scaled (mixed_float16), it returns NaN as its loss.

    Args:
      network: the built `Network` to train.
    """

    SCALARS = ("loss",)
    memory = None  # what a checkpoint holds beside network and optimizer
    policy = None  # the `FitConfig` that says how views are made, where that is left to the step

    def __init__(self, network):
        super().__init__()
        self.network = network
        # Made here and not when first seen: variables born inside a step would have its graph traced twice.
        self._meters = {name: tf.keras.metrics.Mean(name=name) for name in (*self.SCALARS, "loss_scale", "wait")}

    def objective(self, batch):
        """dict of float32 scalars for one replica's part of a batch; `loss` is this replica's share."""
        raise NotImplementedError

    def call(self, images, training=False):
        return self.network(images, training=training)

    def differentiate(self, batch):
        """The scalars of `objective`, and the gradients of this replica's share of the loss in the network's trainable variables."""
        with recomputing(), tf.GradientTape() as tape:
            scalars = self.objective(batch)
            loss = self._scaled(_finite(scalars["loss"], "the loss"))
        return scalars, tape.gradient(loss, self.network.trainable_variables)

    @tf.autograph.experimental.do_not_convert  # nothing here branches on a tensor; reading it would take as long as tracing it
    def train_step(self, batch):
        batch = self._completed(batch)
        with kernel_gradients(self.jit_compile):
            scalars, gradients = self.differentiate(batch)
        scalars["loss"] *= replica_count()
        if self.scales_loss:
            scalars["loss_scale"] = self.optimizer.loss_scale
            self._update_unless_infinite(gradients, scalars)
        else:
            self._update(gradients, scalars)
        self.follow_up(batch)
        return self._record(scalars)

    def make_train_function(self, force=False):
        """What Keras' fit calls: takes an iterator, makes `steps_per_execution` steps, returns the means of what they recorded.

        Keras' own traces a step twice where there are several, and knows nothing of the wait for input: `wait`, in seconds a step.
        """
        if self.train_function is not None and not force:
            return self.train_function

        def recorded(batch, wait):
            scalars = self.train_step(batch)
            self._meters["wait"].update_state(wait)
            with tf.control_dependencies(list(scalars.values())):
                self._train_counter.assign_add(1)
            return scalars

        # A function of its own, of which all that it does is done before what depends on its outputs.
        step = tf.function(recorded, jit_compile=self.jit_compile or None, autograph=False)

        @tf.function(autograph=False, reduce_retracing=True)
        def steps(iterator):
            names, last = {"wait"}, self.steps_per_execution - 1

            def train(batch, wait):
                outputs = self.distribute_strategy.run(step, args=(batch, wait))
                names.update(outputs)
                return outputs

            def ask_and_train(done):
                train(*_timed(iterator))
                return [done + 1]

            def train_and_ask(done, batch, wait):
                """The next batch is asked for while the step runs: handing it over takes time of its own."""
                with tf.control_dependencies(list(train(batch, wait).values())):
                    trained = tf.timestamp()
                batch, ready = tf.cond(done < last, lambda: _next(iterator), lambda: (batch, trained))
                return done + 1, batch, tf.cast(tf.maximum(ready - trained, 0.0), tf.float32)

            # The iterator of a strategy cannot be asked in a branch, and none may be asked for a batch that is not trained on.
            ahead = isinstance(iterator, tf.data.Iterator)
            first = [tf.zeros_like(last), *(_timed(iterator) if ahead else ())]
            tf.while_loop(lambda done, *_: done <= last, train_and_ask if ahead else ask_and_train, first)
            return {name: self._meters[name].result() for name in sorted(names)}

        steps._omit_frequent_tracing_warning = True  # which counts every training's own as one that is traced again and again
        self.train_function = steps
        return steps

    def follow_up(self, batch):
        """What a subclass does once the weights are updated."""

    @property
    def scales_loss(self):
        """Whether the loss is scaled, so that small gradients are numbers of 16 bits."""
        return isinstance(self.optimizer, tf.keras.mixed_precision.LossScaleOptimizer)

    def _scaled(self, loss):
        return self.optimizer.get_scaled_loss(loss) if self.scales_loss else loss

    def _completed(self, batch):
        """The batch with what the input pipeline left to the step: views, where they are made there."""
        if "draws" in batch:
            return views.finish(batch, self.network.spec.image_size, self.policy)
        return {key: self._completed(part) if isinstance(part, dict) else part for key, part in batch.items()}

    def _update(self, gradients, scalars):
        weights = self.network.trainable_variables
        if self.jit_compile or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
            scalars["loss"] = tf.where(_all_finite(gradients), scalars["loss"], float("nan"))
        gradients = [_finite(g, f"the gradient of {v.name}") for g, v in zip(gradients, weights)]
        self.optimizer.apply_gradients(zip(gradients, weights))

    def _update_unless_infinite(self, gradients, scalars):
        """Updates the weights; the optimizer leaves them and scales less where a gradient is infinite, and then that was a step as well."""
        scale, step = tf.identity(self.optimizer.loss_scale), tf.identity(self.optimizer.iterations)
        gradients = self.optimizer.get_unscaled_gradients(gradients)
        scalars["loss"] = tf.where(_all_finite(gradients) | (scale > 1.0), scalars["loss"], float("nan"))
        self.optimizer.apply_gradients(zip(gradients, self.network.trainable_variables))
        self.optimizer.iterations.assign(step + 1)

    def _record(self, scalars):
        for name, value in scalars.items():
            self._meters[name].update_state(value)
        return {name: self._meters[name].result() for name in scalars}

    @property
    def metrics(self):
        return list(self._meters.values())


class ContrastiveModel(Trainer):
    """Pretraining: NT-Xent between the projections of two views of every image (paper, equation 1).

    With a memory the loss is the mean of that and of the same between these projections and those of the average network, of the batch
    and of the queue. Were the queue negatives beside partners that the online network projects, then whatever all of its projections have
    in common and the average's have not would tell partners from the queue: seen with Q = 16,384 beside 254 views, features of 35 %.

    Args:
      network: the online network, which all later stages start from.
      temperature: τ > 0.
      micro_batch_size: images of every replica that pass at a time, each with both views; 0 for all of them.
      memory: the `Memory` whose projections the views are compared with, too, or None.
    """

    SCALARS = ("loss", "chance_loss", "contrastive_top1", "z_std", "h_std")

    def __init__(self, network, temperature, micro_batch_size=0, memory=None):
        super().__init__(network)
        self._temperature, self._micro_batch_size = temperature, micro_batch_size
        self.memory = memory

    def _completed(self, batch):
        batch = super()._completed(batch)
        if self.memory is None:
            return batch
        return {**batch, "keys": self._features(self.memory.network, batch)[1]}  # here, where no tape keeps how it came to them

    def objective(self, batch):
        return self._contrast(*self._features(self.network, batch), batch)

    def differentiate(self, batch):
        if not self._micro_batch_size:
            return super().differentiate(batch)
        # What the second pass sees must be what the first one saw: moving statistics move in the second alone.
        h, z = micro_batches.features(self.network, batch["views"], self._micro_batch_size, moves=False)
        with tf.GradientTape() as tape:
            tape.watch(z)
            scalars = self._contrast(h, z, batch)
            loss = self._scaled(_finite(scalars["loss"], "the loss"))
        upstream = tape.gradient(loss, z)
        return scalars, micro_batches.gradients(self.network, batch["views"], self._micro_batch_size, upstream)

    def follow_up(self, batch):
        if self.memory is not None:
            self.memory.follow(self.network)
            self.memory.enqueue(*tf.unstack(batch["keys"]), batch["example"])

    def _features(self, network, batch):
        """(h, z) of a network in training mode, float [2, B, D]."""
        if self._micro_batch_size:
            return micro_batches.features(network, batch["views"], self._micro_batch_size, moves=True)
        found = network(tf.concat(batch["views"], axis=0), training=True)["features"]
        return tuple(tf.stack(tf.split(x, 2)) for x in (found[0], found[-1]))

    def _contrast(self, h, z, batch):
        contrast = functools.partial(nt_xent, z[0], z[1], self._temperature, examples=batch.get("example"))
        scalars = contrast()
        if self.memory is not None:
            negatives, allowed = self.memory.negatives(batch["example"])
            remembered = contrast(keys=batch["keys"], negatives=negatives, allowed=allowed)
            scalars |= {name: (scalars[name] + remembered[name]) / 2.0 for name in ("loss", "chance_loss")}
        h = tf.cast(tf.reshape(h, [-1, h.shape[2]]), tf.float32)
        scalars["h_std"] = tf.reduce_mean(tf.math.reduce_std(tf.stop_gradient(h), axis=0))
        return scalars


class SupervisedModel(Trainer):
    """Fine-tuning and the supervised baseline: cross-entropy on labelled views."""

    SCALARS = ("loss", "accuracy")

    def objective(self, batch):
        logits = self.network(batch["views"][0], training=True)["logits"]
        losses = supervised(batch["label"], logits)
        return {"loss": tf.reduce_mean(losses) / replica_count(), "accuracy": _agreement(logits, batch["label"])}


class DistillationModel(Trainer):
    """Distillation: `(1-α)` · labelled cross-entropy + `α` · match of the teacher's softened probabilities (paper, equation 3).

    The teacher runs in inference mode on the same weak view as the student.

    Args:
      network: the student.
      teacher: a `Network` with a classifier; it is not trained.
      temperature: τ > 0.
      alpha: α in [0, 1]; at 1 batches need no labelled part, at 0 no unlabelled one.
    """

    SCALARS = ("loss", "agreement", "accuracy")

    def __init__(self, network, teacher, temperature, alpha):
        super().__init__(network)
        teacher.trainable = False
        self.teacher = teacher
        self._temperature, self._alpha = temperature, alpha

    def objective(self, batch):
        parts = [batch[key]["views"][0] for key in ("unlabelled", "labelled") if key in batch]
        logits = self.network(tf.concat(parts, axis=0), training=True)["logits"]
        scalars = {"loss": 0.0}
        if "unlabelled" in batch:
            size = parts[0].shape[0]
            taught = self.teacher(parts[0], training=False)["logits"]
            scalars["loss"] += self._alpha * tf.reduce_mean(distillation(taught, logits[:size], self._temperature))
            scalars["agreement"] = _agreement(logits[:size], tf.argmax(taught, axis=1))
            logits = logits[size:]
        if "labelled" in batch:
            labels = batch["labelled"]["label"]
            scalars["loss"] += (1.0 - self._alpha) * tf.reduce_mean(supervised(labels, logits))
            scalars["accuracy"] = _agreement(logits, labels)
        scalars["loss"] /= replica_count()
        return scalars


def _timed(iterator):
    """The iterator's next element, and the seconds that it was waited for, float32."""
    asked = tf.timestamp()
    with tf.control_dependencies([asked]):
        batch, ready = _next(iterator)
    return batch, tf.cast(ready - asked, tf.float32)


def _next(iterator):
    """The iterator's next element, and when it was there, float64 seconds."""
    batch = iterator.get_next()
    with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
        return batch, tf.timestamp()


def _finite(x, what):
    """The tensor itself, which comes to be only where it is finite: what needs it, such as an update, does not happen otherwise."""
    return tf.debugging.check_numerics(x, NOT_FINITE + what)


def _all_finite(tensors):
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(x)) for x in tensors]))


def _agreement(logits, labels):
    hits = tf.argmax(logits, axis=1) == tf.cast(labels, tf.int64)
    return tf.reduce_mean(tf.cast(hits, tf.float32))
