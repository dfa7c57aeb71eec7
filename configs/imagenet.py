"""ImageNet (ILSVRC 2012): 1,281,167 + 50,000 colour images of differing sizes, 1,000 classes, streamed.

Prepared with `tfds build imagenet2012` (which needs the two archives from image-net.org); any other TFDS data set of
JPEGs will do too:

    data-redundancy run --config=imagenet --workdir=gs://BUCKET/imagenet

ResNet-101: --config.model.name=resnet101. Larger batches: --config.train.batch_size=4096 (the learning rate follows).
From 8,192 on --config.train.optimizer=lars --config.train.learning_rate=0.3, which like the other rate is for 256
images: 9.6 at 8,192. Published rates at a trust coefficient of 1e-3 are 10 there, 25 at 16,384 and, after 14 epochs of
warm-up, 32 at 32,768. One GPU: --config.train.batch_size=256 --config.embed.batch_size=512. This has not been run at
full size yet.

References:
    Goyal et al. (2017), "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", for the recipe.
    Loshchilov and Hutter (2017), "SGDR", for the cosine.
    You, Gitman and Ginsburg (2017), "Large Batch Training of Convolutional Networks", for LARS.
    TensorFlow's ResNet-50 for TPUs, lars_util.py, for its rates.
"""

from ml_collections import ConfigDict

from data_redundancy.configs import default


def get_config() -> ConfigDict:
    """ResNet-50 for 90 epochs in bfloat16: SGD, batch 1,024, learning rate 0.1 per 256 images."""
    config = default.get_config()
    config.dataset.name = "imagenet2012"
    config.dataset.test_split = "validation"
    config.input.mode = "stream"
    config.model.name = "resnet50"
    config.train.epochs = 90.0
    config.train.warmup_epochs = 5.0
    config.train.batch_size = 1024
    config.train.learning_rate = 0.1
    config.train.learning_rate_batch_size = 256
    config.train.weight_decay = 1e-4
    config.train.label_smoothing = 0.1
    config.train.dtype = "bfloat16"
    config.train.pad = 0  # random crops do more
    config.embed.batch_size = 1024
    config.cluster.max_prune_fraction = 0.3
    config.sweep.fractions = (0.1, 0.3)
    return config
