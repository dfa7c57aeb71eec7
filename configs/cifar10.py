"""CIFAR-10: 50,000 + 10,000 colour images of 32 x 32 pixels, 10 classes; the kind of recipe the paper uses.

Prepared with `tfds build cifar10`, or from an .npz:

    data-redundancy run --config=cifar10 --workdir=runs/cifar10 --config.prepare.source=cifar10.npz

The whole recipe has not been run yet; docs/reproduction.md has what was: a fifth of the images, a ResNet-8 and 2,000
steps of 32 images.
"""

from ml_collections import ConfigDict

from data_redundancy.configs import default


def get_config() -> ConfigDict:
    """ResNet-32, SGD with batch 128, cosine schedule, 200 epochs, pad-and-crop and flip."""
    config = default.get_config()
    config.dataset.name = "cifar10"
    config.dataset.class_names = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    return config
