"""ImageNet downsampled to 32 x 32 pixels: 1,281,167 + 50,000 colour images, 1,000 classes, 3.9 GB in device memory.

Prepared with `tfds build imagenet_resized/32x32` (which needs the archives from image-net.org):

    data-redundancy run --config=imagenet --workdir=runs/imagenet

References:
    Chrabaszcz, Loshchilov, Hutter (2017), "A Downsampled Variant of ImageNet as an Alternative to the CIFAR datasets".
"""

from ml_collections import ConfigDict

from data_redundancy.configs import default


def get_config() -> ConfigDict:
    """WRN-28-10 for 40 epochs in bfloat16, the length and rate of the reference, with a cosine schedule."""
    config = default.get_config()
    config.dataset.name = "imagenet_resized/32x32"
    config.dataset.test_split = "validation"
    config.model.name = "wrn28_10"
    config.train.epochs = 40.0
    config.train.warmup_epochs = 1.0
    config.train.learning_rate = 0.01
    config.train.dtype = "bfloat16"
    config.train.checkpoint_every_steps = 5000
    config.embed.batch_size = 2048
    config.cluster.max_prune_fraction = 0.3
    config.sweep.fractions = (0.1, 0.3)
    return config
