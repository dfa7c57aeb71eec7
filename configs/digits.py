"""scikit-learn's bundled digits: 1,797 grey images of 8 x 8 pixels, 10 classes; nothing to download.

data-redundancy run --config=digits --workdir=runs/digits
"""

from ml_collections import ConfigDict

from data_redundancy.configs import default


def get_config() -> ConfigDict:
    """A ResNet-8 that two CPU cores train in seconds."""
    config = default.get_config()
    config.dataset.name = "digits"
    config.prepare.source = "digits"
    config.model.name = "resnet8"
    config.train.epochs = 12.0
    config.train.warmup_epochs = 2.0
    config.train.pad = 1
    config.train.flip = False  # a mirrored digit is another sign
    config.train.log_every_steps = 20
    config.score.epochs = 3.0  # a tenth would end within the warm-up
    config.sweep.fractions = (0.1, 0.5, 0.8)
    config.sweep.seeds = (0, 1, 2, 3, 4)
    return config
