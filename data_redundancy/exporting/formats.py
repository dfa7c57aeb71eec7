"""The names of the formats of exports. Imports nothing, because the help of the command line shows them."""

FORMATS = ("tfds", "webdataset", "huggingface", "imagefolder")
"""The formats of data sets with images."""
LISTS = ("txt", "csv", "parquet", "npy")
"""The formats of keep lists, which are one file each."""
FILE_FORMATS = ("tfrecord", "array_record")
"""The file formats of a TFDS data set."""
