from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_redundancy.errors import InputError
from data_redundancy.runtime import devices


def test_there_are_eight_devices():
    assert jax.device_count() == jax.local_device_count() == 8


def test_pmap_splits_replicates_and_reduces():
    @jax.jit
    def reference(x, w):
        return x @ w, (x @ w).sum()

    def function(x, w):
        y = x @ w
        return y, jax.lax.psum(y.sum(), devices.AXIS)

    x = np.arange(48, dtype=np.float32).reshape(24, 2)
    w = np.float32([[1], [-2]])
    mapped = devices.pmap(function, in_axes=(0, None), out_axes=(0, None))
    rows, total = mapped(devices.stack_local(x), devices.replicate(w))
    assert rows.shape == (8, 3, 1)
    assert total.shape == ()
    expected_rows, expected_total = reference(x, w)
    assert np.array_equal(np.concatenate(rows), expected_rows)
    assert total == expected_total


def test_pmap_compiles_once_and_takes_its_own_output_back():
    traces = []

    def function(tree, x):
        traces.append(1)
        return jax.tree.map(lambda a: a + jax.lax.psum(x.sum(), devices.AXIS), tree)

    mapped = devices.pmap(function, in_axes=(None, 0), out_axes=None, donate_argnums=(0,))
    tree = devices.replicate({"a": np.zeros(3), "b": np.float32(1)})
    for _ in range(3):
        tree = mapped(tree, devices.stack_local(np.ones(16)))
    assert len(traces) == 1
    assert np.array_equal(tree["a"], np.full(3, 48))
    assert tree["b"] == 49


def test_replicate_puts_everything_everywhere():
    tree = {"a": np.arange(6, dtype=np.int32).reshape(2, 3), "b": [jnp.float32(2.5)]}
    replicated = devices.replicate(tree)
    for leaf, expected in zip(jax.tree.leaves(replicated), jax.tree.leaves(tree), strict=True):
        assert leaf.shape == expected.shape
        assert leaf.dtype == expected.dtype
        assert {shard.device for shard in leaf.addressable_shards} == set(jax.devices())
        assert all(np.array_equal(shard.data, expected) for shard in leaf.addressable_shards)


def test_stack_local_keeps_the_order():
    batch = np.arange(48).reshape(16, 3)
    assert np.array_equal(devices.stack_local(batch), batch.reshape(8, 2, 3))
    steps = np.arange(48).reshape(3, 16)
    split = devices.stack_local(steps, axis=1)
    assert split.shape == (8, 3, 2)
    assert np.array_equal(np.concatenate(split, axis=1), steps)


def test_own_part_gives_every_process_its_part():
    batch = np.arange(32)
    parts = []
    for process in range(4):
        with (
            mock.patch.object(jax, "process_count", return_value=4),
            mock.patch.object(jax, "process_index", return_value=process),
            mock.patch.object(jax, "local_device_count", return_value=2),
        ):
            parts.append(devices.stack_local(devices.own_part(batch)))
            assert np.array_equal(devices.own_part(batch.reshape(1, 32), axis=1), batch[8 * process :][None, :8])
    assert all(part.shape == (2, 4) for part in parts)
    assert np.array_equal(np.concatenate(parts).ravel(), batch)


def test_stack_local_undoes_with_reshape():
    rows = np.arange(48).reshape(24, 2)
    stacked = devices.stack_local(rows)
    assert stacked.shape == (8, 3, 2)
    assert np.array_equal(stacked.reshape(24, 2), rows)


@pytest.mark.parametrize("ahead", [0, 1, 2, 5, 9])
def test_batches_are_put_on_the_devices_in_order_and_ahead(ahead):
    batches = [{"x": 100 * i + np.arange(48).reshape(8, 2, 3), "y": [np.full(8, i)]} for i in range(5)]
    taken = []

    def read():
        for i, batch in enumerate(batches):
            taken.append(i)
            yield batch

    given = devices.put_on_devices(read(), ahead=ahead)
    assert taken == [], "nothing is read before the first batch is needed"
    count = 0
    for batch, expected in zip(given, batches, strict=True):
        assert taken == list(range(min(count + 1 + ahead, 5)))
        count += 1
        for array, rows in ((batch["x"], expected["x"]), (batch["y"][0], expected["y"][0])):
            assert np.array_equal(array, rows)
            assert [shard.device for shard in array.addressable_shards] == jax.local_devices()
            for device, shard in enumerate(array.addressable_shards):
                assert np.array_equal(shard.data, rows[device : device + 1])
    assert count == 5


def test_no_batches_are_put_on_the_devices():
    assert list(devices.put_on_devices([], ahead=2)) == []


@pytest.mark.parametrize("batch_size", [-8, 0, 1, 7, 9, 12])
def test_batch_size_must_fit_the_devices(batch_size):
    with pytest.raises(InputError, match=rf"^train.batch_size={batch_size}: .*multiple of the number of devices, 8$"):
        devices.check_batch_size(batch_size, "train.batch_size")


@pytest.mark.parametrize("batch_size", [8, 16, 128])
def test_batch_size_that_fits(batch_size):
    devices.check_batch_size(batch_size, "train.batch_size")


@given(num_rows=st.integers(0, 500), multiple=st.integers(1, 70), processes=st.integers(1, 9))
def test_row_shares_partition_at_chunk_borders(num_rows, multiple, processes):
    with mock.patch.object(jax, "process_count", return_value=processes):
        shares = [devices.row_share(num_rows, multiple, process) for process in range(processes)]
    assert [row for start, stop in shares for row in range(start, stop)] == list(range(num_rows))
    chunks = [{row // multiple for row in range(start, stop)} for start, stop in shares]
    assert sum(map(len, chunks)) == len(set().union(*chunks)), "two processes write one chunk"
    assert max(map(len, chunks)) - min(map(len, chunks)) <= 1


def test_row_share_is_this_process_by_default():
    assert devices.row_share(10, 4) == devices.row_share(10, 4, 0) == (0, 10)


def test_one_process_is_the_main_one_and_waits_for_no_other():
    assert devices.is_main_process()
    devices.barrier("no other process")
    with mock.patch.object(jax, "process_index", return_value=1):
        assert not devices.is_main_process()


def test_what_the_main_process_finds_is_what_it_is():
    found = {"a": [1, 2.5, None]}
    assert devices.call_on_main(lambda: found) is found
