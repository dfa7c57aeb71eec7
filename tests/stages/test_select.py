"""`select --embeddings` from files of all formats, written by the libraries that users write them with."""

import json
import os
import re
import sys

import datasets
import ml_dtypes
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from sklearn.datasets import load_digits

from data_redundancy.data import embedding_files
from data_redundancy.store import artifacts
from helpers.command import error_line, run_here, run_process

NAMES = np.array(["one", "two", "three"])
N = 60


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(n_class=3, return_X_y=True)
    return images[:N].astype(np.float32), labels[:N].astype(np.int64)


def select(capfd, *flags, out="kept"):
    done = run_here(capfd, "select", "--fraction=0.3", f"--out={out}", *flags)
    assert (done.code, done.out) == (0, ""), done.err
    return np.load(f"{out}/keep.npy"), pq.read_table(f"{out}/examples.parquet").to_pydict()


def refused(capfd, *flags):
    line = error_line(run_here(capfd, "select", "--fraction=0.3", "--out=kept", *flags))
    assert not os.path.exists("kept")
    return line


def table(x, y, **columns):
    return pa.table({"embedding": pa.array(list(x), pa.list_(pa.float32())), "label": y, **columns})


def write_npz(x, y):
    np.savez("e.npz", embeddings=x, labels=y, images=np.zeros(3))
    return "e.npz"


def write_parquet(x, y):
    pd.DataFrame({"embedding": list(x), "label": y}).to_parquet("e.parquet")
    return "e.parquet"


def write_parquet_folder(x, y):
    """Writes three files of several row groups, the last one in a subfolder, with fixed-size lists of floats."""
    os.makedirs("e/last")
    flat = pa.array(x.ravel(), pa.float32())
    whole = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, x.shape[1]), "label": y})
    for name, rows in (("a", slice(0, 25)), ("b", slice(25, 40)), ("last/0", slice(40, N))):
        pq.write_table(whole.slice(rows.start, rows.stop - rows.start), f"e/{name}.parquet", row_group_size=7)
    open("e/_SUCCESS", "w").close()
    return "e"


def write_zarr2(x, y):
    group = zarr.open_group("e.zarr", mode="w", zarr_format=2)
    group.create_array("embedding", data=x, chunks=(7, 64))
    group.create_array("label", data=y)
    return "e.zarr"


def write_zarr3(x, y):
    group = zarr.open_group("e.zarr", mode="w", zarr_format=3)
    group.create_array("embedding", data=x, chunks=(7, 64))
    group.create_array("label", data=y)
    return "e.zarr"


def write_store(x, y):
    """Writes the format of the command `embed`."""
    from etils import epath

    with artifacts.write_embeddings(epath.Path("w/embeddings"), y, num_dimensions=x.shape[1], fingerprint={}) as store:
        store[:] = x
    return "w/embeddings"


def write_hugging_face(x, y):
    datasets.Dataset.from_dict({"embedding": x.tolist(), "label": y.tolist()}).save_to_disk("e", num_shards=2)
    return "e"


WRITERS = [
    write_npz,
    write_parquet,
    write_parquet_folder,
    write_zarr2,
    write_zarr3,
    write_store,
    write_hugging_face,
]


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_what_npy_files_give(capfd, digits, write):
    path = write(*digits)
    np.save("e.npy", digits[0])
    np.save("l.npy", digits[1])
    expected, rows = select(capfd, "--embeddings=e.npy", "--labels=l.npy")
    keep, with_labels_beside = select(capfd, f"--embeddings={path}", out="beside")
    assert np.array_equal(keep, expected)
    assert with_labels_beside == rows
    named = {"e.npz": ("embeddings", "labels")}.get(path, ("embedding", "label"))
    flags = (f"--embeddings={path}:{named[0]}", f"--labels={path}:{named[1]}")
    assert np.array_equal(select(capfd, *flags, out="named")[0], expected)
    loaded = embedding_files.load(path, None, needs_labels=True)
    assert np.array_equal(loaded.embeddings, digits[0])
    assert loaded.embeddings.dtype == (np.float64 if path == "e" and write is write_hugging_face else np.float32)


def test_labels_from_another_kind_of_file(capfd, digits):
    x, y = digits
    np.save("e.npy", x)
    pq.write_table(pa.table({"file": np.arange(N), "label": y}), "l.parquet")
    np.savez("l.npz", anything=y)
    from_parquet = select(capfd, "--embeddings=e.npy", "--labels=l.parquet", out="a")
    assert from_parquet[1]["label"] == y.tolist()
    assert np.array_equal(from_parquet[0], select(capfd, "--embeddings=e.npy", "--labels=l.npz", out="b")[0])


@pytest.mark.parametrize("kind", ["npy", "npz", "bytes", "parquet", "dictionary", "hugging face"])
def test_strings_become_classes_in_sorted_order(capfd, digits, kind):
    x, texts = digits[0], NAMES[digits[1]]
    np.save("e.npy", x)
    flags = {
        "npy": ["--embeddings=e.npy", "--labels=l.npy"],
        "bytes": ["--embeddings=e.npy", "--labels=l.npy"],
        "npz": ["--embeddings=e.npz"],
        "parquet": ["--embeddings=e.parquet"],
        "dictionary": ["--embeddings=e.parquet"],
        "hugging face": ["--embeddings=hf"],
    }[kind]
    np.save("l.npy", texts.astype("S") if kind == "bytes" else texts)
    np.savez("e.npz", embedding=x, label=texts)
    column = pa.array(texts.tolist())
    pq.write_table(table(x, column.dictionary_encode() if kind == "dictionary" else column), "e.parquet")
    datasets.Dataset.from_dict({"embedding": x.tolist(), "label": texts.tolist()}).save_to_disk("hf")
    rows = select(capfd, *flags)[1]
    assert rows["class_name"] == texts.tolist()
    assert rows["label"] == [["one", "three", "two"].index(text) for text in texts]


@pytest.mark.parametrize("kind", ["save_to_disk", "to_parquet"])
def test_hugging_faces_class_labels_and_ids_come_through(capfd, digits, kind):
    x, y = digits
    features = datasets.Features(
        {
            "clip": datasets.List(datasets.Value("float32"), length=64),
            "label": datasets.ClassLabel(names=NAMES.tolist()),
            "id": datasets.Value("int64"),
            "file_name": datasets.Value("string"),
        }
    )
    columns = {
        "clip": x.tolist(),
        "label": y.tolist(),
        "id": list(range(100, 100 + N)),
        "file_name": [f"{i}.png" for i in range(N)],
    }
    dataset = datasets.Dataset.from_dict(columns, features=features)
    dataset.save_to_disk("save_to_disk")
    dataset.to_parquet("to_parquet")
    rows = select(capfd, f"--embeddings={kind}:clip")[1]
    assert rows["label"] == y.tolist()
    assert rows["class_name"] == NAMES[y].tolist()
    assert rows["tfds_id"] == [str(i) for i in columns["id"]]
    assert rows["file_name"] == columns["file_name"]


def test_rows_chosen_by_hugging_face_are_the_rows_read(capfd, digits):
    x, y = digits
    dataset = datasets.Dataset.from_dict({"embedding": x.tolist(), "label": y.tolist()})
    dataset.shuffle(seed=0).select(range(30)).save_to_disk("part")
    loaded = embedding_files.load("part", None, needs_labels=True)
    again = datasets.load_from_disk("part")
    assert np.array_equal(loaded.embeddings, again["embedding"][:])
    assert loaded.labels.tolist() == again["label"][:] != y[:30].tolist()


@pytest.mark.parametrize("kind", ["npy", "parquet", "zarr float16", "zarr bfloat16"])
def test_half_precision(digits, kind):
    import tensorstore as ts

    x = digits[0] / 16
    dtype = ml_dtypes.bfloat16 if kind == "zarr bfloat16" else np.float16
    if kind == "npy":
        np.save("e", x.astype(np.float16))
        path = "e.npy"
    elif kind == "parquet":
        pq.write_table(pa.table({"embedding": pa.array(list(x.astype(np.float16)), pa.list_(pa.float16()))}), "e")
        path = "e"
    else:
        specification = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{os.getcwd()}/e/"}}
        ts.open(specification, create=True, dtype=np.dtype(dtype), shape=x.shape).result()[:] = x.astype(dtype)
        path = "e"
    loaded = embedding_files.load(path, None, needs_labels=False).embeddings
    assert loaded.dtype == (np.float16 if kind in ("npy", "zarr float16") else np.float32)
    assert np.array_equal(loaded.astype(np.float32), x.astype(dtype).astype(np.float32))


def test_groups_in_groups(digits):
    x, y = digits
    group = zarr.open_group("e.zarr", mode="w").create_group("train")
    group.create_array("clip", data=x)
    group.create_array("label", data=y)
    loaded = embedding_files.load("e.zarr:train/clip", "e.zarr:train/label", needs_labels=True)
    assert np.array_equal(loaded.embeddings, x)
    assert np.array_equal(loaded.labels, y)


def test_no_labels_are_needed_for_the_whole_data_set(capfd, digits):
    np.save("e.npy", digits[0])
    keep, rows = select(capfd, "--embeddings=e.npy", "--config=default", "--config.cluster.scope=dataset")
    assert len(keep) == 42
    assert rows["label"] == [None] * N


READ = """
import tracemalloc, pandas, pyarrow  # pandas, because pyarrow imports it later
from data_redundancy.data import embedding_files
tracemalloc.start()
loaded = embedding_files.load("e.parquet", None, needs_labels=False).embeddings
print(loaded.nbytes, tracemalloc.get_traced_memory()[1], pyarrow.default_memory_pool().max_memory(), loaded.sum())
"""


def test_a_table_is_read_in_pieces():
    """The file has one row group, the default; a separate process, because Arrow's memory is counted as well."""
    x = np.random.default_rng(0).integers(-99, 99, (160_000, 64)).astype(np.float32)
    whole = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])})
    pq.write_table(whole, "e.parquet", use_dictionary=False)
    done = run_process(code=READ, cwd=None)
    assert done.code == 0, done.err
    num_bytes, numpys, arrows, total = map(float, done.out.split())
    assert (num_bytes, total) == (x.nbytes, x.sum())
    assert numpys < 1.1 * x.nbytes
    assert 0 < arrows < 0.4 * x.nbytes


# Mistakes


def ragged(x, y):
    lists = [row.tolist() for row in x]
    lists[7] = lists[7][:5]
    return pa.table({"embedding": lists, "label": y})


def with_null(x, y):
    lists = [row.tolist() for row in x]
    lists[9] = None
    return pa.table({"embedding": lists, "label": y})


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (
            lambda x, y: table(x, y).rename_columns(["clip", "label"]),
            r": must name one of clip, label, because none is called embedding or embeddings\. "
            r"Give it as e.parquet:NAME\.$",
        ),
        (lambda x, y: table(x, y).rename_columns(["embedding", "y"]), None),
        (ragged, ": must have lists of the same length: row 7 has 5 numbers, those before it have 64$"),
        (with_null, ": must not have nulls, but row 9 is null$"),
        (
            lambda x, y: table(x, pa.array([None if i == 3 else 0 for i in range(N)])),
            ":label: must not have nulls, but row 3 is null in column 'label'$",
        ),
        (lambda x, y: table(x, y - 1), ":label: must be at least 0, but index 0 has label -1$"),
        (
            lambda x, y: table(x, y / 2),
            r":label: must have one integer per example, but has shape \(60,\) and type float64\. Convert numbers ",
        ),
        (
            lambda x, y: table(x, pa.array([[1]] * N)),
            ":label: must have integers or strings in column 'label', but it is of type list<.*>$",
        ),
        (
            lambda x, y: pa.table({"embedding": [["a"]] * N, "label": y}),
            ": must have lists of numbers in column 'embedding', but it is of type list<.*string>$",
        ),
        (
            lambda x, y: pa.table({"embedding": y, "label": y}),
            ": must have lists of numbers in column 'embedding', but it is of type int64$",
        ),
    ],
)
def test_mistaken_tables(capfd, digits, write, told):
    pq.write_table(write(*digits), "e.parquet", row_group_size=5)
    told = (
        "--embeddings=e.parquet" + told
        if told
        else "--labels: must be given, because e.parquet has no array or column label or labels: it has embedding, y. "
    )
    assert re.match(told, line := refused(capfd, "--embeddings=e.parquet")), line


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--embeddings=none.npy"], "--embeddings=none.npy: does not exist$"),
        (["--embeddings=none.npy:x"], "--embeddings=none.npy:x: does not exist$"),
        (["--embeddings=gs://b/e.npy"], "--embeddings=gs://b/e.npy: must be a local path$"),
        (["--embeddings=text.csv"], "--embeddings=text.csv: must be an .npy or .npz file, a Parquet file or a folder"),
        (["--embeddings=folder"], "--embeddings=folder: must be an .npy or .npz file, a Parquet file or a folder"),
        (["--embeddings=e.npz:x"], "--embeddings=e.npz:x: must name one of a, b$"),
        (
            ["--embeddings=e.npy:x"],
            "--embeddings=e.npy:x: must be without a name, because the file has one array without a name$",
        ),
        (
            ["--embeddings=e.npy"],
            "--labels: must be given, because e.npy has no array or column label or labels: it has one array without a "
            r"name\. Give --labels, or cluster without classes, with --config\.cluster\.scope=dataset\.$",
        ),
        (
            ["--embeddings=e.npy", "--labels=short.npy"],
            "--labels=short.npy: must have one label per embedding, but has 3 for 60 embeddings$",
        ),
        (["--embeddings=pickled.npy"], r"--embeddings=pickled.npy: must be an .npy file of numbers or strings \("),
        (["--embeddings=cut.npz"], r"--embeddings=cut.npz: must be an .npz file \("),
        (["--embeddings=cut.parquet"], r"--embeddings=cut.parquet: must be Parquet \("),
        (
            ["--embeddings=splits"],
            r"--embeddings=splits: must be one split of the data set: train, test\. Name splits/train, for example\.$",
        ),
        (["--embeddings=splits/train:x"], "--embeddings=splits/train:x: must name one of embedding, label$"),
        (
            ["--embeddings=bad.zarr"],
            "--embeddings=bad.zarr: must have the metadata of a Zarr array or group in bad.zarr/zarr.json$",
        ),
        (["--embeddings=odd.zarr"], r"--embeddings=odd.zarr: must have a Zarr array in odd.zarr/embedding \("),
        (
            ["--embeddings=e.npy", "--labels=latin.npy"],
            r"--labels=latin.npy: must be all integers or all UTF-8 strings, but row 0 has b'\\xe9'$",
        ),
        (["--embeddings=none"], "--embeddings=none: must have a list of splits in none/dataset_dict.json$"),
        (
            ["--embeddings=two"],
            "--embeddings=two: must have equal columns in all files: two/b.parquet has no column 'embedding', "
            "two/a.parquet one of type list<.*float>$",
        ),
    ],
)
def test_mistaken_files(capfd, digits, flags, told):
    x, y = digits
    np.save("e.npy", x)
    np.save("short.npy", y[:3])
    np.save("latin.npy", np.array([b"\xe9"] * N))
    np.save("pickled.npy", np.array([{}], object), allow_pickle=True)
    np.savez("e.npz", a=x, b=y)
    for name in ("folder", "none", "bad.zarr", "odd.zarr/embedding", "two"):
        os.makedirs(name)
    for name, text in {
        "text.csv": "1,2",
        "cut.npz": "PK\3\4",
        "cut.parquet": "PAR1",
        "bad.zarr/zarr.json": "{",
        "none/dataset_dict.json": "{}",
        "odd.zarr/zarr.json": '{"zarr_format": 3, "node_type": "group"}',
        "odd.zarr/embedding/zarr.json": '{"zarr_format": 3, "node_type": "array"}',
    }.items():
        with open(name, "w") as file:
            file.write(text)
    pq.write_table(table(x, y), "two/a.parquet")
    pq.write_table(pa.table({"label": y}), "two/b.parquet")
    dataset = datasets.Dataset.from_dict({"embedding": x.tolist(), "label": y.tolist()})
    datasets.DatasetDict({"train": dataset, "test": dataset}).save_to_disk("splits")
    assert re.match(told, line := refused(capfd, *flags)), line


def test_a_label_without_a_class_name(capfd, digits):
    write_hugging_face(*digits)
    names = {"label": {"names": ["one"], "_type": "ClassLabel"}}
    metadata = {b"huggingface": json.dumps({"info": {"features": names}}).encode()}
    pq.write_table(table(*digits).replace_schema_metadata(metadata), "e.parquet")
    line = refused(capfd, "--embeddings=e.parquet")
    assert line == (
        "--embeddings=e.parquet:label: must have labels from 0 to 0, because the classes have 1 names, but row 1 has 1"
    )


@pytest.mark.parametrize("notes", ["{", "[]", '{"info": null}', '{"info": {"features": {"label": ["x"]}}}'])
def test_notes_of_other_programs_in_parquet_are_let_be(capfd, digits, notes):
    expected = select(capfd, f"--embeddings={write_parquet(*digits)}", out="plain")[0]
    pq.write_table(table(*digits).replace_schema_metadata({b"huggingface": notes}), "e.parquet")
    assert np.array_equal(select(capfd, "--embeddings=e.parquet")[0], expected)


@pytest.mark.parametrize("method", ["el2n", "ccs"])
def test_methods_that_go_by_scores_are_refused(capfd, digits, method):
    """Nothing is read before: without training there are no scores."""
    line = refused(capfd, "--embeddings=none.npy", f"--config.select.method={method}")
    assert line == (
        f"--config.select.method={method}: ranks by scores, which come from training, not by embeddings. Use "
        "agglomerative, random, kcenter, herding, prototypes, semdedup, facility_location."
    )


def test_without_the_package_of_hugging_face(capfd, digits, monkeypatch):
    write_hugging_face(*digits)
    monkeypatch.setitem(sys.modules, "datasets", None)
    line = refused(capfd, "--embeddings=e")
    assert line == (
        "--embeddings=e: needs the package datasets, which is not installed. Install it with pip install "
        "'data_redundancy[huggingface]'."
    )
