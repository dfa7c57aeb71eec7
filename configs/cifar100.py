"""CIFAR-100: 50,000 + 10,000 colour images of 32 x 32 pixels, 100 classes.

Prepared with `tfds build cifar100`:

    data-redundancy run --config=cifar100 --workdir=runs/cifar100
"""

from ml_collections import ConfigDict

from data_redundancy.configs import default


def get_config() -> ConfigDict:
    """As for CIFAR-10."""
    config = default.get_config()
    config.dataset.name = "cifar100"
    return config
