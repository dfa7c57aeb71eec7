"""The schemas of the artifacts that stages hand to each other: embeddings, trees, selections."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

import data_redundancy
from data_redundancy import parallel, workdir
from data_redundancy.errors import InputError

MANIFEST = "manifest.json"
CHUNK_BYTES = 4 * 2**20


def chunk_rows(num_dimensions: int) -> int:
    """Rows per chunk of the embedding store."""
    return max(1, CHUNK_BYTES // (4 * num_dimensions))


def manifest(fingerprint: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """What an artifact is, what it was made from, and by which version of the code (recorded, not compared)."""
    return {**about, "code_version": data_redundancy.__version__, "fingerprint": dict(fingerprint)}


def read_manifest(directory: pathlib.Path) -> dict[str, Any] | None:
    """The manifest of an artifact, None where there is no complete one."""
    return workdir.read_json(directory / MANIFEST)


@contextlib.contextmanager
def write_embeddings(
    directory: pathlib.Path, labels: np.ndarray, *, num_dimensions: int, fingerprint: Mapping[str, Any]
) -> Iterator[Any]:
    """Creates the embedding store: Zarr v3 arrays embedding [N, D] float32 and label [N] int32.

    Gives the embedding array, a TensorStore to which every process writes its own rows; when the block ends, the store
    takes its place.
    """
    with workdir.atomic_directory(directory) as partial:
        rows = chunk_rows(num_dimensions)
        if parallel.is_main_process():
            group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
            (partial / "zarr.json").write_text(json.dumps(group))
            _create_array(partial / "embedding", (len(labels), num_dimensions), (rows, num_dimensions), "float32")
            _create_array(partial / "label", labels.shape, (len(labels),), "int32")[:] = labels.astype(np.int32)
        parallel.barrier("created the embedding store")
        yield _open_array(partial / "embedding")
        if parallel.is_main_process():
            about = manifest(fingerprint, num_examples=len(labels), num_dimensions=num_dimensions)
            workdir.write_json(partial / MANIFEST, about)


def read_embeddings(directory: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads embedding [N, D] float32 and label [N] int32."""
    return tuple(np.asarray(_open_array(directory / name).read().result()) for name in ("embedding", "label"))


def write_dendrogram(path: pathlib.Path, *, members: np.ndarray, linkage: np.ndarray) -> None:
    """Writes one tree: members [n] int64, linkage [m, 4] float64."""
    with workdir.atomic_file(path) as partial, partial.open("wb") as file:
        np.savez(file, members=members, linkage=linkage)


def read_dendrogram(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads one tree's members and linkage."""
    with np.load(path) as arrays:
        return arrays["members"], arrays["linkage"]


def dendrogram_path(directory: pathlib.Path, label: int, scope: str) -> pathlib.Path:
    """The file of one tree: of a class, or of the whole data set."""
    return directory / (f"class_{label}.npz" if scope == "class" else "dataset.npz")


def write_selection(
    directory: pathlib.Path,
    selection: Any,
    *,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
    tfds_ids: np.ndarray | None,
    file_names: np.ndarray | None,
    fingerprint: Mapping[str, Any],
) -> None:
    """Writes keep.npy, examples.parquet (one row per example, in canonical order) and manifest.json.

    Args:
        directory: becomes the selection.
        selection: a `data_redundancy.Selection` of N examples.
        labels: [N] integers, or None where there are none.
        class_names: a name for every label, or None.
        tfds_ids: [N] str, or None where the source has no ids.
        file_names: [N] str, or None where the source has none.
        fingerprint: what the selection was made from.
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
    )
    with workdir.atomic_directory(directory) as partial:
        if parallel.is_main_process():
            np.save(partial / "keep.npy", selection.keep)
            pq.write_table(pa.table(columns), partial / "examples.parquet")
            workdir.write_json(partial / MANIFEST, about)


def _create_array(path: pathlib.Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str):
    import tensorstore as ts

    return ts.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(path)},
            "metadata": {
                "shape": list(shape),
                "data_type": dtype,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
            },
            "create": True,
        }
    ).result()


def _open_array(path: pathlib.Path):
    import tensorstore as ts

    try:
        return ts.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}, "open": True}).result()
    except ValueError as error:
        raise InputError(f"{path}: not a Zarr array ({str(error).splitlines()[0]})") from None
