"""The encoder: a ResNet from images to pooled features h."""

import tensorflow as tf

from tf_simclr.models.blocks import BasicBlock, Bottleneck, ConvNorm, chain

LAYOUTS = {
    10: (BasicBlock, (1, 1, 1, 1)),
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
    200: (Bottleneck, (3, 24, 36, 3)),
}
GROUP_WIDTHS = (64, 128, 256, 512)
CIFAR_LIMIT = 32


def scaled(channels, width):
    """Channels times the width multiplier, at least one."""
    return max(1, round(channels * width))


def stem_for(image_size):
    """The stem that `--stem=auto` stands for."""
    return "cifar" if image_size <= CIFAR_LIMIT else "imagenet"


class Stem(tf.keras.layers.Layer):
    """The first layers.

    cifar: one 3×3. cifar2: one 3×3 of stride 2, a quarter of the work behind it, for CPU recipes. imagenet: 7×7 of stride 2
    and a 3×3 max-pool of stride 2; with selective kernels three 3×3 instead of the 7×7 (ResNet-D).
    """

    def __init__(self, kind, width, sk, **kwargs):
        super().__init__(**kwargs)
        channels = scaled(64, width)
        half = max(1, channels // 2)
        if kind == "imagenet" and sk:
            self.convs = [ConvNorm(half, 3, 2), ConvNorm(half, 3), ConvNorm(channels, 3)]
        elif kind == "imagenet":
            self.convs = [ConvNorm(channels, 7, 2)]
        else:
            self.convs = [ConvNorm(channels, 3, {"cifar": 1, "cifar2": 2}[kind])]
        self.pool = kind == "imagenet"
        self._lean = sk

    def call(self, x, training=False):
        x = chain(self.convs, x, training, self._lean)
        pooled = tf.nn.max_pool2d(x, 3, 2, "SAME") if self.pool else x
        return x, pooled


class ResNet(tf.keras.Model):
    """Images to features, with every intermediate endpoint by name.

    Args:
      depth: 10, 18, 34, 50, 101, 152 or 200.
      width: multiplier of all channel counts, > 0.
      sk: selective kernels.
      stem: 'cifar', 'cifar2' or 'imagenet'.
    """

    def __init__(self, depth, width, sk, stem, **kwargs):
        super().__init__(**kwargs)
        block, counts = LAYOUTS[depth]
        self.stem = Stem(stem, width, sk)
        self.groups = []
        channels = scaled(64, width)
        for group, (filters, count) in enumerate(zip(GROUP_WIDTHS, counts)):
            filters = scaled(filters, width)
            blocks = []
            for i in range(count):
                stride = 2 if group > 0 and i == 0 else 1
                # As in the released models, every group's first block projects, basic blocks of stride 1 included.
                blocks.append(block(filters, stride, sk, project=i == 0))
                channels = filters * block.EXPANSION
            self.groups.append(blocks)
        self.output_width = channels

    def endpoints(self, images, training=False):
        """All named activations; float images [B, S, S, C] in [0, 1].

        Returns:
          dict of float tensors: initial_conv, initial_max_pool, block_group1 … block_group4 [B, H, W, D], final_avg_pool [B, D].
        """
        convolved, x = self.stem(images, training=training)
        named = {"initial_conv": convolved, "initial_max_pool": x}
        for number, blocks in enumerate(self.groups, start=1):
            for block in blocks:
                x = block(x, training=training)
            named[f"block_group{number}"] = x
        named["final_avg_pool"] = tf.reduce_mean(x, axis=[1, 2])
        return named

    def call(self, images, training=False):
        """Features h, float [B, output_width]."""
        return self.endpoints(images, training=training)["final_avg_pool"]
