"""Packaging of data_redundancy; `make install` is the usual way in."""

import pathlib
import re

from setuptools import find_packages, setup

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "data_redundancy" / "version.py").read_text(), re.M)[1]

# The tests have been run with the lower bounds, and with the newest releases below the upper ones.
REQUIRES = [
    "jax>=0.10,<0.13",
    "flax>=0.12.8,<0.13",
    "optax>=0.2.6,<0.3",
    "orbax-checkpoint>=0.12.7,<0.13",
    "tensorstore>=0.1.86",
    "etils[epath]>=1.14",
    "numpy>=2.2.6,<3",
    "scipy>=1.16.3,<2",
    "statsmodels>=0.14.5",
    "ml-collections>=1.1,<2",
    "clu>=0.0.12,<0.1",
    # TensorFlow only feeds data and writes TensorBoard's files: the small build where there is one.
    "tensorflow-cpu>=2.20,<2.22; platform_system == 'Linux' and platform_machine == 'x86_64'",
    "tensorflow>=2.20,<2.22; platform_system != 'Linux' or platform_machine != 'x86_64'",
    "tensorflow-datasets>=4.9.10,<5",
    "tensorboard>=2.20,<2.22",
    "pyarrow>=20",
    "scikit-learn>=1.7.2,<2",
    "pillow>=11.3",
    "matplotlib>=3.10.8,<4",
    "tabulate>=0.9,<1",
    "tqdm>=4.67.1,<5",
    "psutil>=7",
    "shtab>=1.13,<2",  # shell completion
    "threadpoolctl>=3.5",
    "absl-py>=2.3.1",
    "google-crc32c>=1.8",  # checksums of TFRecord files
]
GCS = ["gcsfs>=2025.9"]

setup(
    name="data_redundancy",
    version=VERSION,
    description="Finds the training images a classifier does not need, and shows it",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    # The configs lie at the top, for users to copy; the link data_redundancy/configs makes them part of the package.
    packages=find_packages(include=["data_redundancy", "data_redundancy.*"]),
    package_data={"data_redundancy": ["py.typed", "gallery/assets/*"]},
    install_requires=REQUIRES,
    extras_require={
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "gcs": GCS,
        "huggingface": ["datasets>=4"],  # data sets with an embedding column, as --embeddings
        "umap": ["umap-learn>=0.5.9"],  # the report's map by UMAP instead of PCA
        "bench": ["fastcluster>=1.3,<2"],
        "bench-gpu": ["torch>=2.6", "torchvision>=0.21", "timm>=1.0.20"],
        "test": [
            *GCS,
            "coverage>=7.10",
            "datasets>=4",
            "gcp-storage-emulator>=2026.7",
            "grain>=0.2.12",
            "hypothesis>=6",
            "ipykernel>=6",
            "kubeflow-trainer-api>=2.3,<3",  # the schema of JobSet
            "mypy==2.4.1",
            "nbclient>=0.10",
            "nbformat>=5",
            "pandas>=2.2",
            "pytest>=8",
            "pytest-cov>=7",
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "ruff==0.17.6",
            "selenium>=4.30",
            "setuptools>=77",
            # For Linux the package index has only CUDA builds, about 3 GB with their requirements. pip prefers the CPU
            # build of this release, 2.13.0+cpu, if --find-links or --extra-index-url offers it. The test that needs
            # it does not depend on the version of Python.
            "torch==2.13.0; python_version < '3.12'",
            "types-protobuf>=6",
            "types-psutil>=7",
            "types-tabulate>=0.9",
            "types-tqdm>=4.67",
            "webdataset>=1",
            "zarr>=3",
        ],
    },
    entry_points={"console_scripts": ["data-redundancy = data_redundancy.cli.main:main"]},
)
