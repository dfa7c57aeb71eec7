"""The schemas of the artifacts that stages hand to each other: embeddings, trees, scores, selections."""

import contextlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.runtime import devices
from data_redundancy.store import filesystems, workdir
from data_redundancy.store.workdir import MANIFEST
from data_redundancy.version import __version__

CHUNK_BYTES = 4 * 2**20
READERS = 16
"""Files read at the same time: one of a bucket takes long to come, not much to read."""


def chunk_rows(num_dimensions: int) -> int:
    """Rows per chunk of the embedding store."""
    return max(1, CHUNK_BYTES // (4 * num_dimensions))


def manifest(fingerprint: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """What an artifact is, what it was made from, and by which version of the code (recorded, not compared)."""
    return {**about, "code_version": __version__, "fingerprint": dict(fingerprint)}


def read_manifest(directory: epath.Path) -> dict[str, Any] | None:
    """The manifest of an artifact, None where there is no complete one."""
    return workdir.read_json(directory / MANIFEST)


@contextlib.contextmanager
def write_embeddings(
    directory: epath.Path, labels: np.ndarray, *, num_dimensions: int, fingerprint: Mapping[str, Any]
) -> Iterator[Any]:
    """Creates the embedding store: Zarr v3 arrays embedding [N, D] float32 and label [N] int32.

    Gives the embedding array, a TensorStore to which every process writes its own rows; when the block ends, the store
    takes its place.
    """
    with workdir.atomic_directory(directory) as partial:
        rows = chunk_rows(num_dimensions)
        if devices.is_main_process():
            group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
            with workdir.file_within(partial / "zarr.json") as file:
                file.write_text(json.dumps(group))
            _create_array(partial / "embedding", (len(labels), num_dimensions), (rows, num_dimensions), "float32")
            _create_array(partial / "label", labels.shape, (len(labels),), "int32")[:] = labels.astype(np.int32)
        devices.barrier("created the embedding store")
        yield _open_array(partial / "embedding")
        devices.barrier("wrote all rows of the embedding store")
        if devices.is_main_process():
            about = manifest(fingerprint, num_examples=len(labels), num_dimensions=num_dimensions)
            workdir.write_json(partial / MANIFEST, about)


def read_embeddings(directory: epath.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads embedding [N, D] float32 and label [N] int32."""
    return tuple(np.asarray(_open_array(directory / name).read().result()) for name in ("embedding", "label"))


def write_dendrogram(path: epath.Path, *, members: np.ndarray, linkage: np.ndarray) -> None:
    """Writes one tree: members [n] int64, linkage [m, 4] float64."""
    with workdir.atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, members=members, linkage=linkage)


def read_dendrogram(path: epath.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads one tree's members and linkage."""
    return _parse_dendrogram(path.read_bytes())


def _parse_dendrogram(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    with np.load(io.BytesIO(content)) as arrays:
        return arrays["members"], arrays["linkage"]


def read_dendrograms(
    directory: epath.Path, labels: Iterable[int], scope: str
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Reads the members and linkage of these classes' trees; those that are not there are left out."""
    there = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
    paths = {label: dendrogram_path(directory, label, scope) for label in labels}
    paths = {label: path for label, path in paths.items() if path.name in there}
    with ThreadPoolExecutor(READERS) as readers:
        # Parsed here: NumPy reads headers by `ast`, which Python 3.11 now and then breaks off in several threads
        # ("AST constructor recursion depth mismatch").
        contents = readers.map(lambda path: path.read_bytes(), paths.values())
        return dict(zip(paths, map(_parse_dendrogram, contents), strict=True))


def remove_dendrograms(directory: epath.Path) -> None:
    """Removes all trees."""
    if directory.is_dir():
        for path in directory.iterdir():
            if path.suffix == ".npz":
                path.unlink()


def dendrogram_path(directory: epath.Path, label: int, scope: str) -> epath.Path:
    """The file of one tree: of a class, or of the whole data set."""
    return directory / (f"class_{label}.npz" if scope == "class" else "dataset.npz")


def write_selection(
    directory: epath.Path,
    selection: Any,
    *,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    tfds_ids: np.ndarray | None,
    file_names: np.ndarray | None,
    fingerprint: Mapping[str, Any],
    veto: Mapping[str, Any] | None = None,
) -> None:
    """Writes keep.npy, examples.parquet (one row per example, in canonical order) and manifest.json.

    Unless the same selection is there: other jobs may make it at the same time, and read it as soon as one is done.

    Args:
        directory: becomes the selection.
        selection: a `data_redundancy.Selection` of N examples.
        labels: [N] integers, or None where there are none.
        class_names: a name for every label, or None.
        tfds_ids: [N] str, or None where the source has no ids.
        file_names: [N] str, or None where the source has none.
        fingerprint: what the selection was made from.
        veto: what the manifest says of the veto that changed it, if there was one.

    Raises:
        InputError: if there is one that was made from something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    unknown = [None] * selection.num_examples
    columns = {
        "index": pa.array(np.arange(selection.num_examples), pa.int64()),
        "tfds_id": pa.array(unknown if tfds_ids is None else tfds_ids, pa.string()),
        "file_name": pa.array(unknown if file_names is None else file_names, pa.string()),
        "label": pa.array(unknown if labels is None else labels, pa.int64()),
        "class_name": pa.array([class_names[c] for c in labels] if class_names else unknown, pa.string()),
        "cluster": pa.array(selection.cluster, pa.int64(), mask=selection.cluster < 0),
        "kept": pa.array(selection.kept, pa.bool_()),
        "representative": pa.array(selection.representative, pa.int64(), mask=selection.representative < 0),
        "distance": pa.array(selection.distance, pa.float64(), mask=np.isnan(selection.distance)),
    }
    about = manifest(
        fingerprint,
        method=selection.method,
        prune_fraction=selection.prune_fraction,
        num_examples=selection.num_examples,
        num_kept=len(selection.keep),
        **({} if veto is None else {"veto": dict(veto)}),
    )
    with workdir.shared_directory(directory, fingerprint) as partial:
        if devices.is_main_process():
            np.save(partial / "keep.npy", selection.keep)
            pq.write_table(pa.table(columns), partial / "examples.parquet")
            workdir.write_json(partial / MANIFEST, about)


def read_keep(directory: epath.Path) -> np.ndarray:
    """Reads the keep list [K] int64 of a selection."""
    with (directory / "keep.npy").open("rb") as file:
        return np.load(file)


def read_examples(directory: epath.Path) -> Any:
    """Reads a selection's examples.parquet, a `pyarrow.Table` of one row per example, in canonical order.

    Raises:
        InputError: if it is damaged or not there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / "examples.parquet"
    try:
        with path.open("rb") as file, pq.ParquetFile(file, pre_buffer=False) as parquet:
            # Without threads: one of Arrow's that still held what it read as Python ends would abort the process.
            return parquet.read(use_threads=False)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read ({error}); remove {directory} and select again") from None


def selection_names(directory: epath.Path) -> list[str]:
    """The names of the complete selections in a directory, sorted."""
    there = sorted(directory.iterdir()) if directory.is_dir() else []
    return [path.name for path in there if read_manifest(path) is not None]


def write_scores(directory: epath.Path, scores: np.ndarray, fingerprint: Mapping[str, Any]) -> None:
    """Writes scores.npy and manifest.json, unless the same is there; only what the main process gives counts.

    Args:
        directory: becomes the artifact.
        scores: [N] float32, in canonical order.
        fingerprint: what the scores were made from.
    """
    with workdir.shared_directory(directory, fingerprint) as partial:
        if devices.is_main_process():
            np.save(partial / "scores.npy", scores)
            workdir.write_json(partial / MANIFEST, manifest(fingerprint, num_examples=len(scores)))


def read_scores(directory: epath.Path) -> np.ndarray:
    """Reads scores [N] float32."""
    with (directory / "scores.npy").open("rb") as file:
        return np.load(file)


def _create_array(path: epath.Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str):
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


def _open_array(path: epath.Path):
    import tensorstore as ts

    try:
        return ts.open({"driver": "zarr3", "kvstore": filesystems.kvstore(path), "open": True}).result()
    except ValueError as error:
        if filesystems.is_remote(path) and filesystems.passes(error):
            raise
        raise InputError(f"{path}: not a Zarr array ({str(error).splitlines()[0]})") from None
