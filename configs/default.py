"""Every config field with its default; the other shipped configs override some of them.

Change fields on the command line with --config.SECTION.FIELD=VALUE, or write a config file:

    from data_redundancy.configs import default

    def get_config():
        config = default.get_config()
        config.dataset.name = "my_dataset"
        return config
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """Returns the defaults: a ResNet-32 for small images, batch size 128."""
    config = ConfigDict()

    config.dataset = ConfigDict()
    config.dataset.name = "digits"  # name of a prepared TFDS data set (NAME or NAME/CONFIG), or path of an .npz file
    # TFDS version to read; None: the highest prepared version, or 1.0.0 if prepare.source is set
    config.dataset.version = config_dict.placeholder(str)
    # directory of TFDS data sets; None: $TFDS_DATA_DIR, or ~/tensorflow_datasets if it is not set
    config.dataset.data_dir = config_dict.placeholder(str)
    config.dataset.train_split = "train"  # training split: a TFDS split expression, such as train[:90%]
    # test split: a TFDS split expression; trials report the accuracy on it after their last step
    config.dataset.test_split = "test"
    config.dataset.class_names = ()  # one name per class, in the order of the labels; (): the names in the data set

    config.input = ConfigDict()
    # memory: keep decoded images in the memory of every device; stream: decode the images of a TFDS data set as needed
    config.input.mode = "memory"
    # mean per channel (pixels are 0 to 255); (): the means of the training images, or of ImageNet with mode=stream
    config.input.mean = ()
    config.input.std = ()  # standard deviation per channel; (): as for input.mean
    config.input.image_size = 224  # with mode=stream: side in pixels of the square to which images are resized
    # with mode=stream: training crops: random (area and aspect ratio, as for Inception) or center (as in evaluation)
    config.input.crop = "random"
    config.input.min_area = 0.08  # with mode=stream: smallest share of the image area that a random crop covers
    # with mode=stream: side of a central crop, as a share of the shorter side of the image
    config.input.central_fraction = 0.875
    # with mode=stream, for an image that cannot be decoded: stop (raise an error) or skip (use a black image of weight
    # 0)
    config.input.corrupt = "stop"
    # with mode=stream: number of decoding threads; None: one per CPU core
    config.input.threads = config_dict.placeholder(int)
    # with mode=stream: number of batches to decode in advance, and to put on the devices in advance
    config.input.prefetch = 2
    # with mode=stream: directory of the list of records; None: the data set's directory
    config.input.catalog_dir = config_dict.placeholder(str)

    config.prepare = ConfigDict()
    # images to write as a TFDS data set: "digits", an .npz file or a folder of class folders; None: the data set exists
    # already
    config.prepare.source = config_dict.placeholder(str)
    # share of every class that becomes the test split, if the source has no test split
    config.prepare.test_fraction = 0.2
    config.prepare.seed = 0  # seed of the random choice of that test split

    config.model = ConfigDict()
    # architecture: resnet8, 20, 32, 56, wrn16_4 or wrn28_10 for small images; resnet18, 34, 50, 101, 152 or one of
    # their _v2 variants for large images
    config.model.name = "resnet32"
    config.model.width = 1  # factor by which the number of channels of the model is multiplied
    # first layers: imagenet (7x7 convolution, max pooling) or small (3x3 convolution); None: the model's default
    config.model.stem = config_dict.placeholder(str)

    config.train = ConfigDict()
    # length of training in epochs of the full training split; sweep.equal sets the length on smaller selections
    config.train.epochs = 200.0
    config.train.steps = config_dict.placeholder(int)  # length of training in steps; replaces train.epochs if set
    config.train.warmup_epochs = 5.0  # epochs of linear learning-rate warm-up, which are part of the training
    config.train.warmup_steps = config_dict.placeholder(int)  # steps of warm-up; replaces train.warmup_epochs if set
    config.train.batch_size = 128  # images per step over all devices; must be a multiple of the number of devices
    config.train.learning_rate = 0.1  # peak learning rate, after the warm-up; then falls to 0 along a cosine
    # batch size for which train.learning_rate is given: the rate is scaled in proportion; None: it is not scaled
    config.train.learning_rate_batch_size = config_dict.placeholder(int)
    config.train.optimizer = "sgd"  # sgd (with Nesterov momentum) or lars (for batches of many thousand images)
    config.train.momentum = 0.9  # momentum of the optimizer
    # with optimizer=lars: size of an update relative to the weights, at a learning rate of 1
    config.train.trust_coefficient = 1e-3
    # decay of the moving average of the parameters that is used for evaluation and embedding; None: no average
    config.train.ema_decay = config_dict.placeholder(float)
    config.train.weight_decay = 5e-4  # weight decay of kernels; biases and BatchNorm parameters have none
    config.train.label_smoothing = 0.0  # share of the target that is spread evenly over all classes
    config.train.dtype = "float32"  # data type of the computation: float32 or bfloat16; parameters are always float32
    config.train.pad = 4  # augmentation: zeros padded on every side before a random crop; 0: no crop
    config.train.flip = True  # augmentation: mirror images left to right at random
    config.train.cutout = 0  # augmentation: side in pixels of a random square that is set to zero; 0: none
    config.train.seed = 0  # seed of the run that gives the embeddings: its initialisation, order and augmentation
    # steps per call of the compiled function; None: 25 on accelerators with images in memory, 1 otherwise
    config.train.steps_per_call = config_dict.placeholder(int)
    config.train.log_every_steps = 100  # steps between lines of metrics.jsonl
    # steps between checkpoints, and the most steps that an interrupted run repeats
    config.train.checkpoint_every_steps = 1000
    # number of newest checkpoints kept per run; an older one is restored if the newest is damaged
    config.train.keep_checkpoints = 3
    # number of training steps to trace with the profiler; traces are in profile/ of the run; 0: no trace
    config.train.profile_steps = 0

    config.embed = ConfigDict()
    config.embed.batch_size = 512  # images per call over all devices, for embedding and evaluation

    config.cluster = ConfigDict()
    config.cluster.linkage = "complete"  # linkage of agglomerative clustering: complete, average or single
    # class: one dendrogram per class; dataset: one dendrogram of all images, without labels
    config.cluster.scope = "class"
    # largest prune fraction at which dendrograms can be cut; a smaller one saves time and memory; None: no limit
    config.cluster.max_prune_fraction = config_dict.placeholder(float)
    # memory limit of clustering, in 1e9 bytes; None: 60% of the free memory
    config.cluster.memory_limit_gb = config_dict.placeholder(float)

    config.score = ConfigDict()
    # seeds of the training runs on the full set that compute scores; a score is the mean over these runs
    config.score.seeds = (0, 1, 2, 3, 4)
    # epochs after which el2n and grad_norm are computed; None: a tenth of the run
    config.score.epochs = config_dict.placeholder(float)
    # epochs over which forgetting events are counted; None: the whole run
    config.score.forgetting_epochs = config_dict.placeholder(float)

    config.select = ConfigDict()
    # selection method: agglomerative, random or another one; `data-redundancy fields select` lists all
    config.select.method = "agglomerative"
    config.select.fraction = 0.1  # prune fraction: share of the training images to prune, at least 0 and less than 1
    # per_class: prune the same share of every class; global: cut all dendrograms at the same height
    config.select.allocation = "per_class"
    # with method=agglomerative: rule that chooses the member of a cluster to keep: centroid, medoid or nested
    config.select.representative = "centroid"
    # with method=prototypes: kmeans (means of k-means clusters of all images, without labels) or class (means of the
    # classes)
    config.select.centre = "kmeans"
    # with method=prototypes: keep hard images (far from their prototype) or easy ones (near their prototype)
    config.select.end = "hard"
    # with method=ccs: score that measures how hard an image is: el2n, grad_norm or forgetting
    config.select.score = "el2n"
    # with method=ccs: share of every class to prune as too hard, at least 0 and less than 1
    config.select.hardest_pruned = 0.0
    config.select.seed = 0  # random seed, for methods that draw at random

    config.sweep = ConfigDict()
    config.sweep.fractions = (0.1, 0.3, 0.5)  # prune fractions of the trials, each greater than 0 and less than 1
    config.sweep.methods = ("agglomerative", "random")  # selection methods to compare; see select.method
    # training seeds: one trial per seed on the full set, and for every method and fraction
    config.sweep.seeds = (0, 1, 2)
    # what all trials have in common: steps or epochs (then smaller selections train for fewer steps)
    config.sweep.equal = "steps"
    # number of trials to train at the same time on every device, for small models; 0: one trial at a time, over all
    # devices; None: as many as fit into memory (0 on CPU)
    config.sweep.trials_per_device = config_dict.placeholder(int)

    config.evidence = ConfigDict()
    config.evidence.confidence = 0.95  # confidence level of intervals and tests
    # margin: accuracy loss that is still accepted, as a fraction; 0.005 is half a percentage point
    config.evidence.margin = 0.005
    config.evidence.first_look = 3  # command answer: number of seeds at the first look at the results
    config.evidence.look_every = 2  # command answer: number of seeds added before every further look
    # command answer: largest number of trials for one prune fraction; --max_trials sets it
    config.evidence.max_trials = 45
    config.evidence.seed = 0  # command answer: first seed of the trials; the other seeds count up from it

    config.report = ConfigDict()
    # cosine distance up to which two images are near-duplicates; None: the 10% quantile of the distances from pruned
    # images to their representatives
    config.report.near_duplicate = config_dict.placeholder(float)
    # largest number of near-duplicates shown of each kind, nearest first; 0: no search
    config.report.max_warnings = 200
    config.report.max_groups = 100_000  # largest number of redundant groups shown, tightest first
    config.report.map = "pca"  # map of the embeddings: pca, umap (needs the package umap-learn) or none
    config.report.max_points = 20_000  # largest number of images on the map, the same share of every class
    # largest size of index.html, in 1e6 bytes; thumbnails that do not fit are written to thumbnails/
    config.report.max_html_mb = 20.0

    return config.lock()  # setting a field that does not exist raises an error
