"""Seeds depend on what is asked, all of it, and on nothing else."""

import itertools

from sophia_jax.seeds import group_seed, sample_seed


def test_seed_is_the_same_everywhere():
    # The first 8 bytes of sha256(b"0\x1f0\x1fcaption\x1fq\x1f0"), big-endian; a stored
    # run is resumed with these.
    assert group_seed(0, 0, "caption", "q") == 11533461438818616561
    assert group_seed(0, 0, "caption", "q", 0) == 11533461438818616561


def test_every_part_makes_another_seed():
    parts = itertools.product(
        (0, 1), (0, 1), ("caption", "reasoning"), ("q", "r"), (0, 1)
    )
    seeds = [group_seed(*each) for each in parts]
    assert len(set(seeds)) == 32
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_parts_do_not_run_into_each_other():
    assert group_seed(1, 11, "s", "q") != group_seed(11, 1, "s", "q")
    assert group_seed(0, 0, "s", "q", 11) != group_seed(0, 0, "s", "q1", 1)
    assert group_seed(0, 0, "s", "q\x1f1", 0) != group_seed(0, 0, "s", "q", 1)


def test_samples_of_a_group_have_seeds_that_any_server_takes():
    seeds = [sample_seed(seed, sample) for seed in range(20) for sample in range(20)]
    assert len(set(seeds)) == 400
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert max(seeds) > 2**30
