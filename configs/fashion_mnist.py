"""Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28 pixels, 10 classes.

Prepared with `tfds build fashion_mnist`, or from an .npz:

    data-redundancy run --config=fashion_mnist --workdir=runs/fashion_mnist --config.prepare.source=fashion_mnist.npz

The whole recipe has not been run yet; docs/reproduction.md has what was: a tenth of the images, a ResNet-8 and 800
steps of 32 images.
"""

from ml_collections import ConfigDict

from data_redundancy.configs import default


def get_config() -> ConfigDict:
    """ResNet-20 for 60 epochs."""
    config = default.get_config()
    config.dataset.name = "fashion_mnist"
    config.dataset.class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    config.model.name = "resnet20"
    config.train.epochs = 60.0
    config.train.pad = 2
    return config
