"""TFDS data sets: opening, reading, streaming and writing them. The only place, beside exporting, that imports TFDS."""
