"""The TFDS export, which `tfds.builder_from_directory` and `tfds.load` read.

The directory of the data set is OUT/NAME/VERSION. It has all features of its source, and the kept examples also have
`source_index` and `source_tfds_id`. Splits that are not pruned are copied file by file. Their examples lack these two
features, for which TFDS then returns its values for missing features (the lowest integer and empty text; None from a
data source).
"""

import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.data.tfds.builder import import_tfds, silenced_tfds
from data_redundancy.data.tfds.writer import check_class_names
from data_redundancy.errors import InputError
from data_redundancy.exporting import records
from data_redundancy.exporting.contents import Contents
from data_redundancy.exporting.format import Description, Example, Shard
from data_redundancy.exporting.records import Record
from data_redundancy.exporting.source import NpzSource, Stored, TfdsSource
from data_redundancy.store import filesystems

INDEX, TFDS_ID = "source_index", "source_tfds_id"
PROVENANCE = "data_redundancy"
"""The key of the provenance in the metadata of the data set."""


class Tfds:
    """Writes the images and labels of an .npz file; a `Format`."""

    def __init__(self, contents: Contents, *, file_format: str | None = None):
        """Makes the features of the data set.

        Args:
            contents: the contents of the export, of an `NpzSource`.
            file_format: one of `formats.FILE_FORMATS`; by default TFRecord.

        Raises:
            InputError: naming `class_names`, if TFDS cannot store a name.
        """
        self._contents = contents
        self._file_format = file_format or "tfrecord"
        self._features = self._make_features()

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """See `Format`."""
        path = self._path(directory, shard, about)
        path.parent.mkdir(parents=True)
        records.write(path, self._file_format, map(self._record, examples))

    def finish(self, directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
        """See `Format`."""
        _, tfds = import_tfds()
        place = directory / about.name / about.version
        with silenced_tfds():
            identity = tfds.core.DatasetIdentity(
                name=about.name, version=tfds.core.Version(about.version), data_dir=str(place), module_name=""
            )
            info = tfds.core.DatasetInfo(
                builder=identity,
                description=f"{about.description}\n\n{_in_words(about)}".strip(),
                citation=about.citation,
                features=self._features,
                metadata=tfds.core.MetadataDict({**self._metadata(), PROVENANCE: dict(about.provenance)}),
                **self._more_info(),
            )
            info.set_file_format(self._file_format)
            info.set_splits(
                tfds.core.SplitDict([self._split(name, directory, shards, about) for name in _names(shards)])
            )
            info.write_to_directory(place)

    def _make_features(self) -> Any:
        _, tfds = import_tfds()
        source = self._contents.source
        assert isinstance(source, NpzSource), "`TfdsOfTfds` writes data sets of TFDS"
        check_class_names(source.class_names)
        image = tfds.features.Image(shape=source.image_shape)
        label = tfds.features.ClassLabel(names=source.class_names)
        return tfds.features.FeaturesDict({"image": image, "label": label, **_added_features()})

    def _record(self, example: Example) -> Record:
        tf, _ = import_tfds()
        found = {"image": example.encoded, "label": example.label, INDEX: example.index, TFDS_ID: example.tfds_id}
        serialized = tf.train.Example.FromString(self._features.serialize_example(found))
        return Record(_serialized(serialized))

    def _metadata(self) -> Mapping[str, Any]:
        return {}

    def _more_info(self) -> Mapping[str, Any]:
        return {"supervised_keys": ("image", "label"), "disable_shuffling": True}

    def _path(self, directory: pathlib.Path, shard: Shard, about: Description) -> pathlib.Path:
        _, tfds = import_tfds()
        template = tfds.core.ShardedFileTemplate(
            data_dir=directory / about.name / about.version,
            dataset_name=about.name,
            split=shard.split,
            filetype_suffix=self._file_format,
        )
        return pathlib.Path(template.sharded_filepath(shard_index=shard.number, num_shards=shard.of))

    def _split(self, name: str, directory: pathlib.Path, shards: list[Shard], about: Description) -> Any:
        _, tfds = import_tfds()
        own = [shard for shard in shards if shard.split == name]
        size = sum(self._path(directory, shard, about).stat().st_size for shard in own)
        return tfds.core.SplitInfo(name=name, shard_lengths=[shard.length for shard in own], num_bytes=size)


class TfdsOfTfds(Tfds):
    """Writes the examples of a TFDS data set as they are stored, without decoding images; a `Format`."""

    def __init__(self, contents: Contents, *, file_format: str | None = None):
        """Makes the features of the data set.

        Args:
            contents: the contents of the export, of a `TfdsSource`.
            file_format: one of `formats.FILE_FORMATS`; by default that of the source.

        Raises:
            InputError: naming `class_names`, if TFDS cannot store a name; naming `name`, if the source has a feature
                `source_index` that is no integer or `source_tfds_id` that is no text.
        """
        assert isinstance(contents.source, TfdsSource), "`Tfds` writes .npz files"
        self._source: TfdsSource = contents.source
        self._renamed: dict[str, str] = _new_names(self._source.builder.info.features)
        super().__init__(contents, file_format=file_format or self._source.file_format)

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """See `Format`."""
        del examples  # the stored records are copied instead
        path = self._path(directory, shard, about)
        path.parent.mkdir(parents=True)
        if shard.split != self._contents.pruned and self._file_format == self._source.file_format:
            _copy(self._source.files(shard.split)[shard.number], path)
            return
        stored = self._source.stored(self._contents.parts[shard.split].expression, self._contents.indices(shard))
        found = self._pruned(stored) if shard.split == self._contents.pruned else (one.record for one in stored)
        records.write(path, self._file_format, found)

    def _pruned(self, stored: Iterable[Stored]) -> Iterator[Record]:
        tf, _ = import_tfds()
        for index, tfds_id, record in stored:
            content, checksum, _ = record
            if self._renamed:
                content, checksum = _rename(content, self._renamed), None
            features = {
                INDEX: tf.train.Feature(int64_list=tf.train.Int64List(value=[index])),
                TFDS_ID: tf.train.Feature(bytes_list=tf.train.BytesList(value=[tfds_id.encode()])),
            }
            # Two concatenated messages are parsed as one message with the fields of both.
            appended = _serialized(tf.train.Example(features=tf.train.Features(feature=features)))
            yield Record(content, checksum, appended)

    def _make_features(self) -> Any:
        _, tfds = import_tfds()
        features = dict(self._source.builder.info.features.items())
        label = features[self._source.label_key]
        if tuple(label.names) != self._source.class_names:
            features[self._source.label_key] = tfds.features.ClassLabel(names=self._source.class_names)
            check_class_names(self._source.class_names)
        kept = {
            name: _added_features()[TFDS_ID if name.endswith(TFDS_ID) else INDEX] for name in self._renamed.values()
        }
        return tfds.features.FeaturesDict({**features, **kept, **_added_features()})

    def _metadata(self) -> Mapping[str, Any]:
        metadata = self._source.builder.info.metadata
        return dict(metadata) if isinstance(metadata, Mapping) else {}

    def _more_info(self) -> Mapping[str, Any]:
        info = self._source.builder.info
        return {
            "supervised_keys": info.supervised_keys,
            "disable_shuffling": info.disable_shuffling,
            "homepage": next(iter(info.as_proto.location.urls), None),
            "license": info.redistribution_info.license or None,
        }


def make(contents: Contents, *, file_format: str | None = None) -> Tfds:
    """Returns the writer for a source of either kind; see `Tfds` and `TfdsOfTfds`."""
    kind = Tfds if isinstance(contents.source, NpzSource) else TfdsOfTfds
    return kind(contents, file_format=file_format)


def file_lengths(source: TfdsSource) -> dict[str, Sequence[int]]:
    """Returns the number of examples of each file of every split, which stay the same when a split is copied."""
    return {split: list(source.builder.info.splits[split].shard_lengths) for split in source.sizes}


def _added_features() -> dict[str, Any]:
    _, tfds = import_tfds()
    # A tensor of text, because TFDS 4.9.10 does not save that a `Text` is optional.
    text = tfds.features.Tensor(shape=(), dtype=np.str_, optional=True)
    return {INDEX: tfds.features.Scalar(np.int64, optional=True), TFDS_ID: text}


def _new_names(features: Any) -> dict[str, str]:
    """Returns new names for features of the source that have the names of added features, as earlier exports have."""
    _, tfds = import_tfds()
    renamed = {}
    for added, kinds, allowed in ((INDEX, "iu", "an integer"), (TFDS_ID, "OSU", "text")):
        name = added
        while name in features:
            found = features[name]
            if not isinstance(found, tfds.features.Tensor) or found.shape or np.dtype(found.np_dtype).kind not in kinds:
                requirement = f"must have {allowed} as feature {name}, or no such feature, but it is {found}"
                raise InputError("name", None, requirement)
            renamed[name] = f"source_{name}"
            name = renamed[name]
    return renamed


def _rename(content: bytes, names: Mapping[str, str]) -> bytes:
    """Renames features of a serialised example."""
    tf, _ = import_tfds()
    example = tf.train.Example.FromString(content)
    features = example.features.feature
    for name in reversed(list(names)):  # the new name of a feature may be the old name of the next one
        if name in features:
            features[names[name]].CopyFrom(features[name])
            del features[name]
    return _serialized(example)


def _serialized(example: Any) -> bytes:
    """Returns the bytes of an example; without this option, the order of its features would be random."""
    return example.SerializeToString(deterministic=True)


def _copy(source: epath.Path, target: pathlib.Path) -> None:
    if not filesystems.is_remote(source):
        shutil.copyfile(source, target)
        return
    with source.open("rb") as read, open(target, "wb") as written:
        shutil.copyfileobj(read, written, 2**20)


def _names(shards: list[Shard]) -> list[str]:
    return list(dict.fromkeys(shard.split for shard in shards))


def _in_words(about: Description) -> str:
    """Returns the provenance as a sentence."""
    made = about.provenance
    return (
        f"Pruned by data-redundancy: the selection {made['selection']} keeps {made['num_kept']} of "
        f"{made['num_examples']} examples of {made['split']} (fraction removed: {made['fraction']}; fingerprint: "
        f"{made['fingerprint']})."
    )
