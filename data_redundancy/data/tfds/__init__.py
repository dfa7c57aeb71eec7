"""TFDS data sets: opening, reading, streaming and writing them."""
