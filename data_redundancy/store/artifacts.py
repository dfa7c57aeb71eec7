"""The file formats of artifacts: embeddings, dendrograms, scores and selections."""

import contextlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.selection.result import SelectionArrays
from data_redundancy.store import directories, files, filesystems, manifests
from data_redundancy.store.filesystems import reason
from data_redundancy.store.manifests import MANIFEST

CHUNK_BYTES = 4 * 2**20
READERS = 16
"""Files read at the same time, because opening a file in a bucket takes much longer than reading it."""


def chunk_rows(num_dimensions: int) -> int:
    """Returns the number of rows per chunk of the embedding store."""
    return max(1, CHUNK_BYTES // (4 * num_dimensions))


@contextlib.contextmanager
def write_embeddings(
    directory: epath.Path, labels: np.ndarray, *, num_dimensions: int, fingerprint: Mapping[str, Any]
) -> Iterator[Any]:
    """Creates the embedding store: Zarr v3 arrays embedding [N, D] float32 and label [N] int32.

    Args:
        directory: the path of the store once the block has ended without an error.
        labels: [N] integers.
        num_dimensions: the number D of dimensions.
        fingerprint: the inputs that the embeddings are computed from.

    Yields:
        The embedding array, a TensorStore to which every process writes its own rows.

    Raises:
        InputError: if the store cannot be written.
        BucketUnavailableError: if the store is in a bucket that cannot be reached at the moment.
    """
    with directories.atomic_directory(directory) as partial:
        rows = chunk_rows(num_dimensions)
        if devices.is_main_process():
            group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
            with files.file_within(partial / "zarr.json") as file:
                file.write_text(json.dumps(group))
            _create_array(partial / "embedding", (len(labels), num_dimensions), (rows, num_dimensions), "float32")
            _create_array(partial / "label", labels.shape, (len(labels),), "int32")[:] = labels.astype(np.int32)
        devices.barrier("created the embedding store")
        yield _open_array(partial / "embedding")
        devices.barrier("wrote all rows of the embedding store")
        if devices.is_main_process():
            about = manifests.make(fingerprint, num_examples=len(labels), num_dimensions=num_dimensions)
            files.write_json(partial / MANIFEST, about)


def read_embeddings(directory: epath.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads the embeddings [N, D] float32 and labels [N] int32 of an embedding store.

    Raises:
        InputError: if there is no embedding store.
    """
    embeddings, labels = (np.asarray(_open_array(directory / name).read().result()) for name in ("embedding", "label"))
    return embeddings, labels


def write_dendrogram(path: epath.Path, *, members: np.ndarray, merges: np.ndarray) -> None:
    """Writes one dendrogram: members [n] int64, and merges [m, 4] float64 as the array `linkage`."""
    with files.atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, members=members, linkage=merges)


def read_dendrograms(
    directory: epath.Path, labels: Iterable[int], scope: str
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Reads the dendrograms of some classes.

    Args:
        directory: the directory of the dendrograms; it may be missing.
        labels: the classes.
        scope: `class` for one dendrogram per class, `dataset` for a single one.

    Returns:
        Members [n] int64 and merges [m, 4] float64 by class, without the classes that have no file.
    """
    existing = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    paths = {label: dendrogram_path(directory, label, scope) for label in labels}
    paths = {label: path for label, path in paths.items() if path.name in existing}
    with ThreadPoolExecutor(READERS) as readers:
        # Parsed in this thread: NumPy parses headers by `ast`, which in Python 3.11 sometimes fails in several threads
        # ("AST constructor recursion depth mismatch").
        contents = readers.map(lambda path: path.read_bytes(), paths.values())
        return {label: _parse_dendrogram(paths[label], of) for label, of in zip(paths, contents, strict=True)}


def remove_dendrograms(directory: epath.Path) -> None:
    """Removes all dendrograms from a directory."""
    if directory.is_dir():
        for path in directory.iterdir():
            if path.suffix == ".npz":
                path.unlink()


def dendrogram_path(directory: epath.Path, label: int, scope: str) -> epath.Path:
    """Returns the path of the dendrogram of a class, or of the only one if the scope is `dataset`."""
    return directory / (f"class_{label}.npz" if scope == "class" else "dataset.npz")


def write_selection(
    directory: epath.Path,
    selection: SelectionArrays,
    *,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    tfds_ids: np.ndarray | None,
    file_names: np.ndarray | None,
    fingerprint: Mapping[str, Any],
    veto: Mapping[str, Any] | None = None,
) -> None:
    """Writes keep.npy, examples.parquet (one row per example, in canonical order) and manifest.json.

    If another job has meanwhile written the same selection, that one stays, because it may already be read.

    Args:
        directory: the path of the selection.
        selection: the selection, of N examples.
        labels: [N] integers, or None if there are no labels.
        class_names: the name of every label, or None.
        tfds_ids: [N] str, or None if the source has no ids.
        file_names: [N] str, or None if the source has no file names.
        fingerprint: the inputs that the selection is made with.
        veto: the entry of the manifest about a veto that changed the selection, or None.

    Raises:
        InputError: if `directory` has a selection that was made with other inputs, or cannot be written.
        BucketUnavailableError: if `directory` is in a bucket that cannot be reached at the moment.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown = [None] * selection.num_examples
    columns = {
        "index": pa.array(np.arange(selection.num_examples), pa.int64()),
        "tfds_id": pa.array(unknown if tfds_ids is None else tfds_ids, pa.string()),
        "file_name": pa.array(unknown if file_names is None else file_names, pa.string()),
        "label": pa.array(unknown if labels is None else labels, pa.int64()),
        "class_name": pa.array(_names(labels, class_names) or unknown, pa.string()),
        "cluster": pa.array(selection.cluster, pa.int64(), mask=selection.cluster < 0),
        "kept": pa.array(selection.kept, pa.bool_()),
        "representative": pa.array(selection.representative, pa.int64(), mask=selection.representative < 0),
        "distance": pa.array(selection.distance, pa.float64(), mask=np.isnan(selection.distance)),
    }
    about = manifests.make(
        fingerprint,
        method=selection.method,
        prune_fraction=selection.prune_fraction,
        num_examples=selection.num_examples,
        num_kept=len(selection.keep),
        **({} if veto is None else {"veto": dict(veto)}),
    )
    with directories.shared_directory(directory, fingerprint) as partial:
        if devices.is_main_process():
            np.save(partial / "keep.npy", selection.keep)
            pq.write_table(pa.table(columns), partial / "examples.parquet")
            files.write_json(partial / MANIFEST, about)


def read_keep(directory: epath.Path) -> np.ndarray:
    """Reads the keep list [K] int64 of a selection.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path = directory / "keep.npy"
    with _damage_named(path), path.open("rb") as file:
        return np.load(file)


def read_examples(directory: epath.Path) -> Any:
    """Reads examples.parquet of a selection, a `pyarrow.Table` of one row per example, in canonical order.

    Raises:
        InputError: if the file is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / "examples.parquet"
    try:
        with path.open("rb") as file, pq.ParquetFile(file, pre_buffer=False) as parquet:
            # Without threads: a thread of Arrow that still holds data when Python ends would abort the process.
            return parquet.read(use_threads=False)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        fix = f"Remove {directory} and make the selection again"
        raise InputError(path, None, f"must be a Parquet file ({error})", fix) from None


def selection_names(directory: epath.Path) -> list[str]:
    """Returns the sorted names of the complete selections in a directory, which may be missing."""
    paths = sorted(directory.iterdir()) if directory.is_dir() else []
    return [path.name for path in paths if manifests.read(path) is not None]


def write_scores(directory: epath.Path, scores: np.ndarray, fingerprint: Mapping[str, Any]) -> None:
    """Writes scores.npy and manifest.json, unless another job has meanwhile written the same scores.

    Args:
        directory: the path of the scores.
        scores: [N] float32, in canonical order; ignored on all processes but the main one.
        fingerprint: the inputs that the scores are computed from.

    Raises:
        InputError: if `directory` has scores that were computed from other inputs, or cannot be written.
        BucketUnavailableError: if `directory` is in a bucket that cannot be reached at the moment.
    """
    with directories.shared_directory(directory, fingerprint) as partial:
        if devices.is_main_process():
            np.save(partial / "scores.npy", scores)
            files.write_json(partial / MANIFEST, manifests.make(fingerprint, num_examples=len(scores)))


def read_scores(directory: epath.Path) -> np.ndarray:
    """Reads scores [N] float32.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path = directory / "scores.npy"
    with _damage_named(path), path.open("rb") as file:
        return np.load(file)


def _parse_dendrogram(path: epath.Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    with _damage_named(path), np.load(io.BytesIO(content)) as arrays:
        return arrays["members"], arrays["linkage"]


@contextlib.contextmanager
def _damage_named(path: epath.Path) -> Iterator[None]:
    """Raises InputError with the path of a NumPy file that is missing or damaged."""
    try:
        yield
    except (ValueError, EOFError, KeyError, FileNotFoundError, zipfile.BadZipFile) as error:
        raise InputError(path, None, f"is missing or damaged ({reason(error)})", "Remove it and run again") from None


def _names(labels: np.ndarray | None, class_names: Sequence[str] | None) -> list[str] | None:
    return None if labels is None or not class_names else [class_names[label] for label in labels]


def _create_array(path: epath.Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> Any:
    import tensorstore as ts

    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": filesystems.kvstore(path),
            "metadata": {
                "shape": list(shape),
                "data_type": dtype,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            },
            "create": True,
        }
    ).result()


def _open_array(path: epath.Path) -> Any:
    import tensorstore as ts

    try:
        return ts.open({"driver": "zarr3", "kvstore": filesystems.kvstore(path), "open": True}).result()
    except ValueError as error:
        if filesystems.is_remote(path) and filesystems.passes(error):
            raise
        raise InputError(path, None, f"must be a Zarr array ({filesystems.reason(error)})") from None
