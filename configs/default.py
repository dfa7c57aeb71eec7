"""Every field of a config, with its default; the other configs override a few.

Change fields on the command line with --config.SECTION.FIELD=VALUE, or write a config of your own:

    from data_redundancy.configs import default

    def get_config():
        config = default.get_config()
        config.dataset.name = "my_dataset"
        return config
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The defaults: CIFAR-like images, ResNet-32, batch 128."""
    config = ConfigDict()

    config.dataset = ConfigDict()
    config.dataset.name = "digits"  # a prepared TFDS data set (NAME or NAME/CONFIG), or a path to an .npz
    config.dataset.version = config_dict.placeholder(str)  # None: the highest version that is prepared
    config.dataset.data_dir = config_dict.placeholder(str)  # None: $TFDS_DATA_DIR, or ~/tensorflow_datasets
    config.dataset.train_split = "train"  # a TFDS split expression, such as train[:90%]
    config.dataset.test_split = "test"  # the same; only the last step's accuracy on it is reported
    config.dataset.class_names = ()  # for sources that know no names: one per class, in the order of the labels

    config.input = ConfigDict()
    config.input.mode = "memory"  # memory: decoded, on every device; stream: from a TFDS data set, decoded as needed
    config.input.mean = ()  # per channel, 0 to 255; (): that of the training images; ImageNet's where they stream
    config.input.std = ()  # the same, standard deviation
    config.input.image_size = 224  # stream: side of the square that images become
    config.input.crop = "random"  # stream: training crops, random (Inception's) or center (as for evaluation)
    config.input.min_area = 0.08  # stream: least share of the image that a random crop takes
    config.input.central_fraction = 0.875  # stream: side of central crops, as a share of the shorter side
    config.input.corrupt = "stop"  # stream: at an image that cannot be decoded, stop or skip (black, of no weight)
    config.input.threads = config_dict.placeholder(int)  # stream: that decode; None: one for every core
    config.input.prefetch = 2  # stream: batches decoded ahead, and as many put on the devices ahead
    config.input.catalog_dir = config_dict.placeholder(str)  # stream: where records are listed; None: with the data

    config.prepare = ConfigDict()
    config.prepare.source = config_dict.placeholder(str)  # "digits", an .npz, or a folder of class folders
    config.prepare.test_fraction = 0.2  # share of every class that becomes the test split, where the source has none
    config.prepare.seed = 0  # of that split

    config.model = ConfigDict()
    # resnet8, 20, 32, 56, wrn16_4, wrn28_10 for small images; resnet18, 34, 50, 101, 152 and resnet18_v2, ... for large
    config.model.name = "resnet32"  # one of these
    config.model.width = 1  # multiplies the channels of the named model
    config.model.stem = config_dict.placeholder(str)  # None: the model's own; imagenet (7x7, pool) or small (3x3)

    config.train = ConfigDict()
    config.train.epochs = 200.0  # passes over the full training split; other selections: see sweep.equal
    config.train.steps = config_dict.placeholder(int)  # the same in steps; wins over epochs if set
    config.train.warmup_epochs = 5.0  # linear warm-up of the learning rate, part of epochs
    config.train.warmup_steps = config_dict.placeholder(int)  # the same in steps; wins over warmup_epochs if set
    config.train.batch_size = 128  # images per step over all devices, which must divide it
    config.train.learning_rate = 0.1  # at its peak; falls to 0 along a cosine
    config.train.learning_rate_batch_size = config_dict.placeholder(int)  # the rate is for it, else scaled; None: as is
    config.train.optimizer = "sgd"  # sgd (Nesterov), lars (for batches of many thousand images)
    config.train.momentum = 0.9  # of either
    config.train.trust_coefficient = 1e-3  # of lars
    config.train.ema_decay = config_dict.placeholder(float)  # evaluate and embed with averaged parameters; None: off
    config.train.weight_decay = 5e-4  # on kernels only: not on biases and BatchNorm
    config.train.label_smoothing = 0.0  # share of the target spread over all classes
    config.train.dtype = "float32"  # of the computation: float32 or bfloat16; parameters are float32
    config.train.pad = 4  # augmentation: zeros padded on every side before a random crop; 0 for none
    config.train.flip = True  # augmentation: random left-right mirror
    config.train.cutout = 0  # augmentation: side of a square set to zero; 0 for none
    config.train.seed = 0  # of the run that gives the embeddings: initialisation, order, augmentation
    config.train.steps_per_call = config_dict.placeholder(int)  # None: 25 on accelerators, 1 on CPU
    config.train.log_every_steps = 100  # between lines in metrics.jsonl
    config.train.checkpoint_every_steps = 1000  # a run cut off loses at most so many steps
    config.train.keep_checkpoints = 3  # per run, the newest; an older one serves where the newest is damaged
    config.train.profile_steps = 0  # so many steps are traced by the profiler, into profile/ of the run

    config.embed = ConfigDict()
    config.embed.batch_size = 512  # images per call over all devices, for embedding and evaluation

    config.cluster = ConfigDict()
    config.cluster.linkage = "complete"  # complete, average, single
    config.cluster.scope = "class"  # class: a tree for every class; dataset: one tree, labels are ignored
    config.cluster.max_prune_fraction = config_dict.placeholder(float)  # None: whole trees; less: faster, less memory
    config.cluster.memory_limit_gb = config_dict.placeholder(float)  # in 1e9 bytes; None: 60% of what is free

    config.score = ConfigDict()
    config.score.seeds = (0, 1, 2, 3, 4)  # one run each on the full set, with its schedule; scores are means over them
    config.score.epochs = config_dict.placeholder(float)  # el2n, grad_norm: taken after so many; None: a tenth of a run
    config.score.forgetting_epochs = config_dict.placeholder(float)  # forgetting: counted over so many; None: whole run

    config.select = ConfigDict()
    config.select.method = "agglomerative"  # or random, or another one that `select --help` lists
    config.select.fraction = 0.1  # share of the training images to remove, in [0, 1)
    config.select.allocation = "per_class"  # per_class: the same share of every class; global: one height for all trees
    config.select.representative = "centroid"  # agglomerative: the member of a cluster kept: centroid, medoid, nested
    config.select.centre = "kmeans"  # prototypes: kmeans (of all images, without labels), class (the mean of a class)
    config.select.end = "hard"  # prototypes: what is kept: hard (far from its prototype), easy (near to it)
    config.select.score = "el2n"  # ccs: what says how hard an image is: el2n, grad_norm, forgetting
    config.select.hardest_pruned = 0.0  # ccs: share of a class that goes as too hard, in [0, 1)
    config.select.seed = 0  # for methods that draw at random

    config.sweep = ConfigDict()
    config.sweep.fractions = (0.1, 0.3, 0.5)  # shares to remove, each in (0, 1)
    config.sweep.methods = ("agglomerative", "random")  # how what is removed is chosen, see select.method
    config.sweep.seeds = (0, 1, 2)  # one trial each, for every fraction and method and for the full set
    config.sweep.equal = "steps"  # what trials share: steps, or epochs (fewer steps for smaller selections)
    # trained at once on every device, each whole on one; 0: one at a time over all devices; None: what fits (on CPU 0)
    config.sweep.trials_per_device = config_dict.placeholder(int)  # for small models, which leave a device idle

    config.evidence = ConfigDict()
    config.evidence.confidence = 0.95  # of the intervals
    config.evidence.margin = 0.005  # loss of accuracy still accepted when it is said what can go; half a point
    config.evidence.first_look = 3  # answer: so many seeds before the first look at the difference
    config.evidence.look_every = 2  # answer: so many seeds more before every further look
    config.evidence.max_trials = 45  # answer: at most so many trials for a fraction, --max_trials
    config.evidence.seed = 0  # answer: the first seed of its trials; they count up from there

    config.report = ConfigDict()
    # cosine distance up to which images are near-duplicates; None: that of the nearest tenth of what goes
    config.report.near_duplicate = config_dict.placeholder(float)  # at least 0
    config.report.max_warnings = 200  # near-duplicates of either kind to show, the nearest; 0: none are looked for
    config.report.max_groups = 100_000  # redundant groups to show, the tightest
    config.report.map = "pca"  # of the embeddings: pca, umap (needs the package umap-learn), none
    config.report.max_points = 20_000  # on the map, of every class its share
    config.report.max_html_mb = 20.0  # of index.html, in 1e6 bytes; thumbnails that do not fit go beside it

    return config.lock()  # a misspelt field in a config that builds on this one raises
