"""Batches: the same on any number of hosts, the same after a stop, in exact shares."""

from collections import Counter

import grain.python as grain
import pytest

from sophia_jax.data.mixing import mix_examples
from sophia_jax.data.pipeline import read_batches


def batches(source, **changes):
    settings = {"batch_size": 6, "seed": 3} | changes
    return iter(read_batches(source, list, **settings))


def taken(iterator, number):
    return [next(iterator) for _ in range(number)]


def mixed():
    # Of small parts grain takes milliseconds for each element.
    parts = [(range(900), 3), (range(1000, 2000), 2), (range(2000, 2500), 1)]
    return mix_examples(parts, seed=5)


@pytest.mark.parametrize("make_source", [lambda: range(700), mixed])
@pytest.mark.parametrize("stop", [0, 1, 7, 20])
def test_the_rest_is_the_same_after_a_stop(make_source, stop):
    whole = taken(batches(make_source()), 30)
    stopped = batches(make_source())
    assert taken(stopped, stop) == whole[:stop]
    state = stopped.get_state()
    resumed = batches(make_source())
    resumed.set_state(state)
    assert taken(resumed, 30 - stop) == whole[stop:]


@pytest.mark.parametrize("make_source", [lambda: range(700), mixed])
@pytest.mark.parametrize("num_hosts", [2, 3])
def test_hosts_share_each_batch_without_overlap_or_gap(make_source, num_hosts):
    whole = taken(batches(make_source()), 20)
    hosts = [
        taken(batches(make_source(), host=host, num_hosts=num_hosts), 20)
        for host in range(num_hosts)
    ]
    for batch, *shares in zip(whole, *hosts, strict=True):
        assert [len(share) for share in shares] == [6 // num_hosts] * num_hosts
        interleaved = [
            element for each in zip(*shares, strict=True) for element in each
        ]
        assert interleaved == batch


def test_a_state_of_one_host_is_that_of_several():
    one = batches(mixed())
    taken(one, 4)
    rest = taken(one, 3)
    state = batches(mixed())
    taken(state, 4)
    for host in range(2):
        half = batches(mixed(), host=host, num_hosts=2)
        half.set_state(state.get_state())
        assert taken(half, 3) == [batch[host::2] for batch in rest]


def test_hosts_see_every_element_once_an_epoch():
    shares = [
        sum(taken(batches(range(300), host=host, num_hosts=2), 50), [])
        for host in range(2)
    ]
    assert not set(shares[0]) & set(shares[1])
    assert sorted(shares[0] + shares[1]) == list(range(300))


def test_elements_become_examples_in_the_readers():
    made = taken(batches(range(700), make_example=lambda number: -number), 4)
    plain = taken(batches(range(700)), 4)
    assert made == [[-number for number in batch] for batch in plain]


@pytest.mark.parametrize("weights", [(1, 1), (7, 2), (3, 2, 1), (1, 30), (5, 5, 3, 1)])
def test_every_beginning_of_a_mix_is_within_one_example_of_its_shares(weights):
    parts = [([part] * 700, weight) for part, weight in enumerate(weights)]
    source = mix_examples(parts, seed=0)
    counts, total = Counter(), sum(weights)
    for position in range(4 * total):
        counts[source[position]] += 1
        for part, weight in enumerate(weights):
            share = (position + 1) * weight / total
            assert abs(counts[part] - share) <= 1
    assert [counts[part] for part in range(len(weights))] == [4 * w for w in weights]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_hosts": 4}, "batch_size: expected a multiple of 4 hosts, got 6"),
        ({"host": 2, "num_hosts": 2}, "host: expected 0 to 1, got 2"),
    ],
)
def test_hosts_that_cannot_share_a_batch_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        batches(range(700), **changes)


def test_a_grain_data_set_keeps_its_order():
    source = grain.MapDataset.source(range(12)).repeat()
    assert taken(batches(source), 2) == [list(range(6)), list(range(6, 12))]
