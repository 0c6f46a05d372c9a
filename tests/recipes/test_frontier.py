"""What the frontier's arms know of the reward; they learn, and a run goes on."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from sophia_jax.cli.frontier import verdict_lines
from sophia_jax.cli.main import main
from sophia_jax.data.examples import Example
from sophia_jax.recipes.frontier import arms, run, sizes
from sophia_jax.recipes.frontier.batches import pack
from sophia_jax.recipes.frontier.laboratory import (
    make_laboratory,
    preference_pairs,
    standardised,
)
from sophia_jax.recipes.frontier.learnt_rewards import (
    all_rewards,
    learn_rewards,
    pair_accuracy,
    with_end,
)
from sophia_jax.recipes.frontier.task import (
    LONGEST,
)
from sophia_jax.training.reward_model import answer_rewards

TINY = sizes.FrontierConfig(
    seeds=(0,),
    divergences=("reverse KL",),
    told_divergences=("reverse KL",),
    betas=(0.3,),
    reference_updates=4,
    updates=4,
    checkpoints=(2, 4),
    batch_size=16,
    warmup_steps=1,
    reward_rate=1e-2,
    num_held_out=32,
    num_samples=8,
    best_of=4,
)


# --- what is learnt from ---


def test_pairs_are_learnt_from_as_often_as_samples():
    # 160 updates of 64 pairs, each pair in two of them
    assert sizes.full_size(3).num_pairs == 5120


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"divergences": ("chi",)}, "divergences: expected some of reverse KL, "),
        ({"told_divergences": ("forward KL",)}, "told_divergences: expected some of r"),
        ({"betas": (0.0,)}, "betas: expected > 0, got 0.0"),
        ({"checkpoints": (2,)}, r"checkpoints: expected in \[1, 4\] and its end"),
        ({"warmup_steps": 4}, r"warmup_steps: expected in \[0, updates=4\)"),
        ({"updates": 5}, "updates: expected a multiple of updates_per_round=2, got 5"),
        ({"batch_size": 12}, "batch_size: expected a multiple of 8, got 12"),
        ({"num_held_out": 30}, "num_held_out: expected a multiple of 4 with the 16"),
        ({"seeds": ()}, "seeds: expected at least one"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        dataclasses.replace(TINY, **changes)


# --- what is known of the reward ---


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory):
    return make_laboratory(TINY, 0, tmp_path_factory.mktemp("laboratory"))


def first_policy(laboratory, method):
    """The weights after one round of updates."""
    arm = arms.Arm(method, "reverse KL", 0.3)
    steps = {"SFT on the best": arms.imitate, **arms.LEARNERS}[method](
        laboratory, arm, TINY
    )
    found = [jax.device_get(next(steps)) for _ in range(TINY.updates_per_round)]
    return found[-1]["decoder"]["lm_head"]["kernel"]


@pytest.mark.parametrize("method", ["SFT on the best", *sizes.METHODS])
def test_only_one_method_is_told_the_true_reward(laboratory, method):
    lied_to = dataclasses.replace(laboratory, rewards=-laboratory.rewards)
    same = np.array_equal(
        first_policy(laboratory, method), first_policy(lied_to, method)
    )
    assert same == (method != sizes.TOLD)


@pytest.mark.parametrize("method", ["PPO", "GRPO"])
def test_the_others_follow_what_was_learnt(laboratory, method):
    lied_to = dataclasses.replace(laboratory, learnt_rewards=-laboratory.learnt_rewards)
    changed = first_policy(laboratory, method) - first_policy(lied_to, method)
    assert np.abs(changed).max() > 1e-4


def test_all_rewards_are_those_of_packed_answers(laboratory):
    pool = laboratory.pool
    pairs = preference_pairs(laboratory.prompt_ids, pool, laboratory.first_wins)
    model = learn_rewards(laboratory.reference, pairs[: TINY.num_pairs], TINY, 0)
    rewards = all_rewards(model, laboratory.prompt_ids)
    np.testing.assert_allclose(
        standardised(rewards, laboratory.log_probs), laboratory.learnt_rewards
    )
    examples = [
        with_end(Example(laboratory.prompt_ids[prompt], token_ids))
        for prompt, token_ids in zip(pool.prompts[:16], pool.token_ids, strict=False)
    ]
    batch = pack(examples, laboratory.reference.config, longest=LONGEST + 1)
    found = rewards[pool.prompts[:16], pool.answers[:16]]
    assert np.std(found) > 1e-3
    np.testing.assert_allclose(answer_rewards(model, batch), found, atol=1e-5)


def test_half_of_the_ties_are_told_right():
    rewards = np.array([[0.0, 0.0, 1.0]])
    places = np.zeros(4, int), np.array([0, 1, 2, 0])
    assert pair_accuracy(rewards, places, np.array([True, True])) == 0.75
    assert pair_accuracy(rewards, places, np.array([True, False])) == 0.25


# --- the run ---


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A tiny run that was killed in its arms and went on; and one that was not."""
    folder = tmp_path_factory.mktemp("frontier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sizes, "quick_size", lambda num_seeds: TINY)
        real, done = arms.run_arm, []

        def dies(laboratory, arm, config):
            if len(done) == 2:
                raise MemoryError("killed")
            done.append(arm)
            return real(laboratory, arm, config)

        with pytest.MonkeyPatch.context() as deadly:
            deadly.setattr(run, "run_arm", dies)
            first = main(["frontier", "--quick", "--out", str(folder / "killed")])
        left = len(list((folder / "killed" / "seed-0").glob("*.json")))
        resumed = ["frontier", "--quick", "--resume", "--out", str(folder / "killed")]
        codes = first, main(resumed)
        assert main(["frontier", "--quick", "--out", str(folder / "whole")]) == 0
    return folder, codes, left


def test_a_killed_run_goes_on_to_the_same_end(killed):
    folder, codes, left = killed
    assert codes == (1, 0)
    assert left == 4  # two arms, the optimum's curve, what the reward model knows
    for path in (folder / "whole" / "seed-0").glob("*.json"):
        assert (
            path.read_bytes() == (folder / "killed" / "seed-0" / path.name).read_bytes()
        )
    ends = [
        json.loads((folder / n / "summary.json").read_text())
        for n in ("killed", "whole")
    ]
    assert ends[0]["points"] == ends[1]["points"]
    assert len(ends[0]["points"]) == 5 * 2


def test_every_arm_leaves_the_reference_and_is_measured(killed):
    summary = json.loads((killed[0] / "whole" / "summary.json").read_text())
    methods = {point["method"] for point in summary["points"]}
    assert methods == {"SFT on the best", "f-DPO", "PPO", "GRPO", "PPO, true reward"}
    for point in summary["points"]:
        assert point["divergences"]["reverse KL"] > 0
        assert point["divergences"]["forward KL"] > 0
        assert (point["held_out"] is None) == (point["method"] == "SFT on the best")
    compared = [(each["first"], each["second"]) for each in summary["comparisons"]]
    assert compared == list(sizes.COMPARED)
    assert {each["verdict"] for each in summary["comparisons"]} == {"not decided"}
    told = summary["reward_models"]["0"]
    assert (told["num_pairs"], told["num_held_out"]) == (16, 32)
    assert 0 < told["accuracy"] < 1 and -1 < told["correlation"] < 1


def test_its_page_shows_a_panel_and_says_what_it_is_not(killed):
    page = (killed[0] / "whole" / "report.html").read_text()
    assert page.count("<svg ") == 1
    assert "Reward against reverse KL" in page
    assert "too small to rank anything" in page
    assert "the same 16 preferences" in page
    assert "What the reward model knows" in page
    assert "<script" not in page


def test_what_each_side_knows_is_printed(killed):
    summary = json.loads((killed[0] / "whole" / "summary.json").read_text())
    claim, rewards, *shares = verdict_lines(summary)
    assert claim.endswith("0 ahead, 0 behind, 1 not decided")
    told = summary["reward_models"]["0"]
    assert f"tells {told['accuracy']:.1%} of 32 held-out pairs right" in rewards
    assert [line.split(" under")[0].split("    ")[1] for line in shares] == list(
        sizes.METHODS
    )


def test_a_damaged_summary_is_one_line(killed, capsys):
    path = killed[0] / "whole" / "summary.json"
    path.write_text(json.dumps({"kind": "frontier", "settings": {}}))
    assert main(["report", str(path.parent)]) == 2
    line = capsys.readouterr().err.strip()
    assert "summary.json: expected the summary of a frontier, got" in line
    assert "\n" not in line


@pytest.mark.parametrize("seeds", ["0", "-1"])
def test_no_seeds_are_refused(seeds, tmp_path, capsys):
    assert main(["frontier", "--seeds", seeds, "--out", str(tmp_path / "run")]) == 2
    assert f"--seeds: expected >= 1, got {seeds}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
