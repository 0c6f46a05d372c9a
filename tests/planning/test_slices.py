"""Slices by the names that users know."""

import re

import pytest

from sophia_jax.planning.hardware import GENERATIONS
from sophia_jax.planning.slices import lane_topology, parse_slice
from sophia_jax.types import InputError


@pytest.mark.parametrize(
    ("given", "accelerator_type", "topology", "chips", "hosts"),
    [
        ("v5p:4x4x4", "v5p-128", "v5p:4x4x4", 64, 16),
        ("v5p-128", "v5p-128", "v5p:4x4x4", 64, 16),
        ("V5P-8", "v5p-8", "v5p:2x2x1", 4, 1),
        ("v4-32", "v4-32", "v4:2x2x4", 16, 4),
        ("v5litepod-16", "v5litepod-16", "v5e:4x4", 16, 4),
        ("v5e-8", "v5litepod-8", "v5e:2x4", 8, 1),
        ("v6e-64", "v6e-64", "v6e:8x8", 64, 16),
        ("v6e:4x6", "v6e-24", "v6e:4x6", 24, 6),
    ],
)
def test_cores_are_counted_for_v4_and_v5p_and_chips_for_the_others(
    given, accelerator_type, topology, chips, hosts
):
    found = parse_slice(given)
    assert found.accelerator_type == accelerator_type
    assert (found.topology_name, found.chips, found.hosts) == (topology, chips, hosts)
    assert parse_slice(found.name) == found
    assert all(part in str(found) for part in (accelerator_type, topology, str(chips)))


def test_several_slices_are_named_either_way():
    assert parse_slice("2*v6e-64") == parse_slice("v6e:8x8", 2)
    assert parse_slice("2*v6e-64").chips == 128
    assert parse_slice(parse_slice("2*v6e-64").name).num_slices == 2


def test_gpus_are_named_by_their_number():
    assert (parse_slice("h100").chips, parse_slice("h100-8").hosts) == (1, 1)
    assert str(parse_slice("h100-8")) == "8 H100"
    assert parse_slice("h200-4").generation.hbm_gib > 1.6 * GENERATIONS["h100"].hbm_gib


@pytest.mark.parametrize(
    ("given", "num_slices", "said"),
    [
        ("v5p-100", None, "v5p-8, v5p-16, .*counts cores.*v5p:16x16x24"),
        ("v5e-7", None, "v5litepod-1, .*counts chips"),
        ("v5p:3x4x4", None, "the first two even, as 2x2x1, .*; got v5p:3x4x4"),
        ("v6e:4x4x4", None, "2 axes, even, as 1x1"),
        ("v6e:0x4", None, "even"),
        ("tpu", None, "a topology as v5p:4x4x4, or an accelerator type"),
        ("v5p", None, "a topology as v5p:4x4x4"),
        ("x*v6e-8", None, "NUMBER\\*SLICE"),
        ("2*v6e-8", 3, "num_slices: expected 2"),
        ("v6e-8", 0, "num_slices: expected >= 1, got 0"),
        ("h100-9", None, "h100-1, h100-2"),
        ("h100:2x2", None, "h100-1"),
    ],
)
def test_what_is_no_slice_is_refused_with_those_that_there_are(given, num_slices, said):
    with pytest.raises(InputError) as refused:
        parse_slice(given, num_slices)
    assert re.search(said, str(refused.value))
    assert "\n" not in str(refused.value)


def test_a_lane_is_a_part_of_one_host():
    assert lane_topology(GENERATIONS["v5p"], 4) == (2, 2, 1)
    assert lane_topology(GENERATIONS["v6e"], 8) == (2, 4)
    with pytest.raises(InputError, match="up to the 4 chips of a host of v5p, got 8"):
        lane_topology(GENERATIONS["v5p"], 8)
