"""Encoder, as much of the projection head as a stage needs, and a classifier where there are classes: one network for all stages."""

import tensorflow as tf

from tf_simclr.models.backbones import make_encoder
from tf_simclr.models.heads import ProjectionHead
from tf_simclr.models.layers import SupervisedHead


class Network(tf.keras.Model):
    """Images to the features and, with `num_classes`, to logits.

    Args:
      spec: a resolved `ModelConfig` (no zeros or 'auto' left, see `resolve`).
      head_layers: layers of the projection head to keep; the classifier sits on the last of them, so this is the selector.
      num_classes: classes; 0 for no classifier.
    """

    def __init__(self, spec, head_layers, num_classes=0, **kwargs):
        super().__init__(**kwargs)
        self.spec = spec
        self.encoder = make_encoder(spec)
        hidden = spec.head_width or self.encoder.output_width
        self.head = ProjectionHead(spec.head_layers, hidden, spec.head_dim, kept=head_layers)
        self.classifier = SupervisedHead(num_classes) if num_classes else None

    @tf.autograph.experimental.do_not_convert  # which goes for all layers within
    def call(self, images, training=False):
        """Runs the network on float images [B, S, S, C] in [0, 1].

        Returns:
          dict: features, the list [h, output of head layer 1, …]; with a classifier also logits, float32 [B, classes].
        """
        features = self.head(self.encoder(images, training=training), training=training)
        if self.classifier is None:
            return {"features": features}
        return {"features": features, "logits": self.classifier(features[-1])}

    def build_variables(self):
        """Creates every variable without computing anything on real images."""
        self(tf.keras.Input([self.spec.image_size, self.spec.image_size, self.spec.channels]))
        return self
