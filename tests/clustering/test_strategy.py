"""The choice of an algorithm, and its limits."""

import re

import numpy as np
import pytest

from data_redundancy.clustering.strategy import BYTES_PER_PAIR, Strategy, choose_strategy, pairs_per_row
from data_redundancy.errors import InputError

GB = 1e9


def test_the_algorithm_depends_on_size_and_depth():
    chosen = {
        (n, share): choose_strategy(n, 64, int(share * n), "complete", 100 * GB).algorithm
        for n in (50, 5_000, 50_000)
        for share in (0.1, 0.3, 0.99)
    }
    assert chosen[50, 0.1] == chosen[50, 0.3] == chosen[50, 0.99] == "matrix"
    assert chosen[5_000, 0.1] == chosen[50_000, 0.1] == chosen[50_000, 0.3] == "graph"
    assert chosen[5_000, 0.99] != "graph"
    assert chosen[50_000, 0.99] != "graph"


def test_average_linkage_always_needs_the_matrix():
    # A mean can be small although some of the distances are large.
    for n in (100, 10_000):
        assert choose_strategy(n, 64, n // 10, "average", 100 * GB).algorithm == "matrix"


@pytest.mark.parametrize("method", ["complete", "average", "single"])
@pytest.mark.parametrize("num_rows", [10, 3_000, 30_000, 300_000])
def test_nothing_is_chosen_that_does_not_fit(num_rows, method):
    refused = 0
    for limit in (0.08 * GB, 0.2 * GB, 1 * GB, 4 * GB, 64 * GB):
        for share in (0.1, 0.3, 0.6, 0.95):
            try:
                strategy = choose_strategy(num_rows, 64, int(share * num_rows), method, limit)
            except InputError:
                refused += 1
                continue
            assert strategy.peak_bytes <= limit == strategy.memory_limit
            assert strategy.seconds > 0
            assert strategy.num_merges == int(share * num_rows)
            assert strategy.max_pairs * BYTES_PER_PAIR <= max(limit, num_rows * BYTES_PER_PAIR)
    assert refused > 0 or num_rows < 300_000


def test_less_memory_changes_the_algorithm():
    free = choose_strategy(5_000, 64, int(0.83 * 5_000), "single", 100 * GB)
    tight = choose_strategy(5_000, 64, int(0.83 * 5_000), "single", 0.99 * free.peak_bytes)
    assert (free.algorithm, tight.algorithm) == ("matrix", "graph")
    free = choose_strategy(5_000, 64, 4_900, "complete", 100 * GB)
    tight = choose_strategy(5_000, 64, 4_900, "complete", 0.99 * free.peak_bytes)
    assert 0 < free.graph_merges < tight.graph_merges  # fewer clusters are left for the matrix


def test_what_does_not_fit_is_refused_with_the_numbers_and_what_would():
    message = (
        r"^memory_limit_gb=1\.0: must be at least [\d.]+ for class 3: 100,000 examples of 64 dimensions, 95% of them "
        r"merged by complete linkage\. Prune at most 0\.\d+, or raise the limit\.$"
    )
    with pytest.raises(InputError, match=message) as error:
        choose_strategy(100_000, 64, 95_000, "complete", 1 * GB, label=3)
    fits = float(re.search(r"at most ([\d.]+),", error.value.fix)[1])
    assert 0.1 < fits < 0.95
    choose_strategy(100_000, 64, int(fits * 100_000), "complete", 1 * GB)
    with pytest.raises(InputError):
        choose_strategy(100_000, 64, int((fits + 0.02) * 100_000), "complete", 1 * GB)


def test_where_no_fraction_fits_none_is_offered():
    with pytest.raises(
        InputError, match=r"^memory_limit_gb=0\.01: .* 64 dimensions, the whole tree by complete linkage$"
    ):
        choose_strategy(10_000, 64, 9_999, "complete", 0.01 * GB)


def test_guesses_of_pairs_rise_with_the_share():
    guesses = [pairs_per_row(share) for share in np.linspace(0, 1, 50)]
    assert (np.diff(guesses) > 0).all()


def test_algorithms_have_names():
    def name(graph_merges):
        return Strategy(10, 5, graph_merges, 0, 0).algorithm

    assert [name(0), name(3), name(5)] == ["matrix", "graph, then matrix", "graph"]
