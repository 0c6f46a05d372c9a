"""Whole plans: counted ones at once, and small programs compiled for TPU."""

import importlib.util
import json
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import pytest

from sophia_jax.config import LoraConfig, ModelConfig
from sophia_jax.planning import compiling, run_plan
from sophia_jax.planning.compiling import (
    Program,
    compile_program,
    lane_devices,
    slice_devices,
    usable_hbm,
)
from sophia_jax.planning.hardware import GENERATIONS
from sophia_jax.planning.plan import make_plan
from sophia_jax.planning.roles import roles
from sophia_jax.planning.run_file import read_header, read_run_file, with_header
from sophia_jax.planning.run_plan import RoundSizes, RunPlan
from sophia_jax.planning.slices import parse_slice
from sophia_jax.presets import MODELS
from sophia_jax.types import InputError
from sophia_jax.viz.plan_page import plan_page

CONFIGS = Path(__file__).parents[2] / "tpu_configs"
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu: the extra plan"
)


@pytest.fixture(scope="module")
def counted():
    """Adapters of an 8B model on one GPU."""
    plan = RunPlan("internvl3-8b", None, "h100-1", lora=LoraConfig())
    return make_plan(plan)


def test_the_roles_of_a_round_come_in_its_order(counted):
    assert [role.name for role in counted.roles] == [
        "policy loading",
        "image encoding",
        "caption prefill",
        "caption decode",
        "policy update",
    ]
    assert all(role.counted_only for role in counted.roles)


def test_the_weights_of_a_role_are_those_of_the_model(counted):
    # 7.94e9 numbers of two bytes; the adapters' few are float32.
    for role in counted.roles:
        assert role.held["weights"] == pytest.approx(2 * 7.944e9, rel=0.02)


def test_hours_are_steps_by_their_least_time(counted):
    update = counted.roles[-1]
    assert update.steps == 80_000 * 0.5 / 512
    hours = update.steps * update.bound.seconds / 3600
    assert update.chip_hours == pytest.approx(hours)
    assert counted.chip_hours == sum(role.chip_hours for role in counted.roles)
    # At least six operations (forward, again, backward) for each of 6.5e9 weights of
    # the layers, and each of 512 * 6,392 tokens.
    least = 512 * 6392 * 6 * 6.5e9 / 989e12
    assert least < update.bound.seconds < 2 * least


def test_captions_take_the_largest_batch_that_fits(counted):
    decode = counted.roles[3]
    assert decode.batch == decode.largest_batch
    assert 0.9 < decode.peak_bytes / decode.usable_bytes <= 1
    # Keys and values of 13 tiles for eight captions, and of each caption, in 56 KiB.
    tokens = (13 * 256 + 600) / 8 + 400
    assert decode.held["cache"] > decode.batch * tokens * 56 * 2**10


def test_what_does_not_fit_is_said_with_what_would():
    plan = RunPlan("internvl3-8b", None, "h100-1")
    update = make_plan(plan).roles[-1]
    assert not update.fits
    assert [change.fits for change in update.advice] == [False, True]
    assert update.advice[-1].words == "an 8-bit optimizer state, LoRA of rank 16"


def test_a_header_says_what_was_reported(counted, tmp_path):
    path = tmp_path / "run.py"
    source = '"""A run.\n\nOld words.\n"""\n\nPLAN = 1\n'
    path.write_text(with_header(source, counted, "run.py"))
    header = read_header(path)
    assert path.read_text().startswith('"""A run.\n\n    sophia-jax plan --config run')
    assert path.read_text().endswith('"""\n\nPLAN = 1\n')
    assert header.slice == "1 H100"
    assert list(header.roles) == [role.name for role in counted.roles]
    peak, usable, seconds = header.roles["policy update"]
    update = counted.roles[-1]
    assert peak == pytest.approx(update.peak_bytes / 2**30, abs=0.01)
    assert usable == pytest.approx(update.usable_bytes / 2**30, abs=0.01)
    assert seconds == pytest.approx(update.bound.seconds, rel=0.01)
    with pytest.raises(InputError, match="expected PLAN to be a RunPlan, got int"):
        read_run_file(path)


def test_a_file_without_a_report_is_refused(tmp_path):
    path = tmp_path / "run.py"
    path.write_text('"""A run."""\nraise OSError("no")\n')
    with pytest.raises(InputError, match="expected slice, chip-hours, versions, roles"):
        read_header(path)
    with pytest.raises(InputError, match=r"run.py: expected a run file \(no\)"):
        read_run_file(path)
    with pytest.raises(InputError, match="expected a run file, got none"):
        read_run_file(tmp_path / "none.py")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_each_run_states_a_slice_that_fits_and_its_least_times(path):
    plan, header = read_run_file(path), read_header(path)
    assert header.slice == str(plan.target)
    assert "policy update" in header.roles
    assert all(0 < peak <= usable for peak, usable, _ in header.roles.values())
    assert header.chip_hours > 0
    assert "jax" in header.versions


def test_a_page_escapes_names_and_shows_every_role(counted):
    page = plan_page(counted)
    assert all(role.name in page for role in counted.roles)
    assert "1 H100" in page and "src=" not in page and "<script" not in page
    evil = RunPlan("<script>x</script>", None, "h100-1")
    report = type(counted)(evil, counted.roles, {"jax": "<b>"})
    assert "<script>x" not in plan_page(report) and "<b>0" not in plan_page(report)


def test_json_says_all_of_it(counted):
    found = json.loads(json.dumps(counted.to_json()))
    assert found["slice"]["chips"] == 1 and found["fits"] is True
    update = found["roles"][-1]
    assert update["limiter"] == "compute" and update["seconds_per_step"] > 0
    assert found["plan"]["sizes"]["questions"] == 80_000


def test_without_libtpu_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    compiling._devices.cache_clear()
    with pytest.raises(InputError, match=r"pip install 'sophia-jax\[plan\]'"):
        slice_devices(parse_slice("v5p-8"))


@needs_libtpu
@pytest.mark.parametrize(
    ("name", "least"), [("v4", 30), ("v5e", 15), ("v5p", 94), ("v6e", 31)]
)
def test_programs_can_have_nearly_all_of_a_chip(name, least):
    chip = GENERATIONS[name]
    assert least < usable_hbm(chip) / 2**30 < 1.02 * chip.hbm_gib


@needs_libtpu
def test_slices_have_as_many_devices_as_chips():
    for name in ("v4-16", "v5p-128", "v5e-8", "2*v6e-16"):
        target = parse_slice(name)
        devices = slice_devices(target)
        assert len(devices) == target.chips
        assert len({device.process_index for device in devices}) == target.hosts


@needs_libtpu
def test_what_is_too_large_is_measured_too():
    place = jax.sharding.SingleDeviceSharding(lane_devices(GENERATIONS["v5e"], 1)[0])
    usable = usable_hbm(GENERATIONS["v5e"])

    def compiled(gib, beside=0):
        whole = jax.ShapeDtypeStruct((gib * 2**30,), jnp.int8, sharding=place)
        program = Program(lambda: jax.jit(jnp.negative).lower(whole), {}, beside)
        return compile_program(program, usable)

    # An input and an output.
    assert compiled(2).fits and compiled(2).peak_bytes == pytest.approx(4 * 2**30)
    assert not compiled(10).fits
    assert compiled(10).peak_bytes == pytest.approx(20 * 2**30, rel=0.01)
    assert not compiled(2, beside=12 * 2**30).fits


@needs_libtpu
def test_programs_of_a_slice_are_kept_in_no_cache(tmp_path):
    from jax.experimental.compilation_cache import compilation_cache

    seconds = "jax_persistent_cache_min_compile_time_secs"
    place = jax.sharding.SingleDeviceSharding(lane_devices(GENERATIONS["v5e"], 1)[0])
    shape = jax.ShapeDtypeStruct((4096,), jnp.float32, sharding=place)
    before = {n: getattr(jax.config, n) for n in ("jax_compilation_cache_dir", seconds)}
    try:
        for name, value in zip(before, (str(tmp_path), 0), strict=True):
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        program = Program(lambda: jax.jit(jnp.sin).lower(shape), {})
        assert compile_program(program, 2**30).fits
        assert not list(tmp_path.iterdir())
        assert getattr(jax.config, seconds) == 0
        jax.jit(jnp.cos)(jnp.ones(3))  # others are kept as before
        assert list(tmp_path.iterdir())
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@needs_libtpu
def test_a_run_s_header_says_what_its_programs_need():
    # The others of `tpu_configs/` take minutes: `scripts/plan_configs.py`.
    path = CONFIGS / "lora_internvl3_8b_v5e_4.py"
    plan, header = read_run_file(path), read_header(path)
    usable = usable_hbm(plan.target.generation)
    for role in roles(plan):
        peak, has, _ = header.roles[role.name]
        assert usable / 2**30 == pytest.approx(has, abs=0.005)
        if role.name in ("policy loading", "caption decode", "policy update"):
            found = compile_program(role.program(role.first), usable)
            # Another version of the compiler may lay buffers out otherwise.
            assert found.fits
            assert found.peak_bytes / 2**30 == pytest.approx(peak, rel=0.1)


@needs_libtpu
def test_the_library_s_own_programs_compile_for_a_slice(small, monkeypatch):
    models = {"small": small, "text": ModelConfig(small.text)}
    monkeypatch.setattr(run_plan, "MODELS", MappingProxyType({**MODELS, **models}))
    plan = RunPlan(
        policy="small",
        reasoner="text",
        slice="v5e-4",
        tiles=2,
        max_length=512,
        caption_length=64,
        caption_slots=8,
        reasoning_slots=8,
        sizes=RoundSizes(tiles=2, question_tokens=64, reasoning_tokens=128),
    )
    usable = usable_hbm(plan.target.generation)
    quick = ("policy loading", "image encoding", "reasoner decode", "moving weights")
    for role in roles(plan):
        program = role.program(role.first)
        assert role.work(role.first).hbm_bytes > 0
        if role.name in quick:
            found = compile_program(program, usable)
            held = sum(program.held.values())
            assert found.fits and 0.5 * held < found.peak_bytes
