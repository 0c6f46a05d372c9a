"""A process that compiles for hours lets go of programs before they fill it."""

import jax
import jax.numpy as jnp
import pytest

from sophia_jax.recipes import program_memory
from sophia_jax.recipes.program_memory import forget_programs, share_of_mappings


def compiled(numbers):
    """Programs that are held by functions of their own."""
    functions = [jax.jit(lambda x, n=n: jnp.sin(x) * n + jnp.sort(x)) for n in numbers]
    for function in functions:
        function(jnp.arange(8.0)).block_until_ready()
    return functions


def test_programs_take_mappings_and_are_let_go_where_they_are_too_many():
    if not program_memory.MAPPINGS.exists():
        pytest.skip("mappings are counted where Linux lists them")
    before = share_of_mappings()
    functions = compiled(range(20))
    grown = share_of_mappings()
    assert grown > before > 0
    assert not forget_programs(full=1.0)
    assert share_of_mappings() >= grown
    assert forget_programs(full=before / 2)
    assert share_of_mappings() < grown
    assert functions[3](jnp.arange(8.0))[0] == 0  # compiled again


def test_where_nothing_counts_mappings_nothing_is_let_go(monkeypatch, tmp_path):
    monkeypatch.setattr(program_memory, "LIMIT", tmp_path / "none")
    assert share_of_mappings() == 0
    assert not forget_programs()
