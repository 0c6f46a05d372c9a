"""The frontier's task is known wholly; its arms learn, and its run goes on."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from sophia_jax.cli.frontier import verdict_lines
from sophia_jax.cli.main import main
from sophia_jax.data.examples import Example
from sophia_jax.losses import (
    FORWARD_KL,
    JENSEN_SHANNON,
    REVERSE_KL,
    alpha_divergence,
)
from sophia_jax.recipes.frontier import arms, run, sizes
from sophia_jax.recipes.frontier.batches import batches_of, pack
from sophia_jax.recipes.frontier.exact import (
    answer_log_probs,
    exact_divergence,
    exact_reward,
    optimum_curve,
)
from sophia_jax.recipes.frontier.laboratory import (
    make_laboratory,
    preference_pairs,
    standardised,
)
from sophia_jax.recipes.frontier.learnt_rewards import (
    all_rewards,
    learn_rewards,
    pair_accuracy,
    reward_correlation,
    with_end,
)
from sophia_jax.recipes.frontier.reference import fresh_model, prompt_ids
from sophia_jax.recipes.frontier.samples import draw_samples, sampler, shuffled
from sophia_jax.recipes.frontier.task import (
    CUT_OFF,
    LONGEST,
    PROMPTS,
    START,
    all_answers,
    answer_number,
    draw_task,
    raw_rewards,
    usual_words,
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


# --- the task ---


def test_every_answer_is_there_once_and_knows_its_number():
    answers = all_answers()
    assert len(answers.lengths) == sum(4**n for n in range(LONGEST + 1))
    assert len(np.unique(answers.token_ids, axis=0)) == len(answers.lengths)
    for number in (0, 1, 4, 5, 20, 700, 1364, 1365, 5460):
        token_ids = answers.token_ids[number][: answers.lengths[number]]
        assert answer_number(token_ids) == number
    assert answers.cut_off.sum() == 4**LONGEST


@pytest.mark.parametrize("token_ids", [[0, 1], [4, 4], [0] * 6 + [4], [], [5, 4]])
def test_what_is_no_answer_has_no_number(token_ids):
    with pytest.raises(ValueError, match="token_ids: expected an answer of the task"):
        answer_number(np.array(token_ids, int))


def test_a_reward_is_the_mean_worth_of_neighbours():
    task = draw_task(0)
    worth, found = task.worth[2], raw_rewards(task)[2]
    b_a = worth[START, 1] + worth[1, 0] + worth[0, 4]
    assert found[answer_number(np.array([1, 0, 4]))] == pytest.approx(b_a / 3)
    cut = worth[START, 3] + 5 * worth[3, 3]
    assert found[answer_number(np.full(6, 3))] == pytest.approx(cut / 6 + CUT_OFF)


def test_usual_words_follow_their_probabilities():
    task, rng = draw_task(1), np.random.default_rng(0)
    words = usual_words(task, rng, 1, 4000)
    assert max(map(len, words)) < LONGEST
    # Of words of one letter "a", against those of one letter "b": no other factor.
    ways = [task.usual[1, START, x] * task.usual[1, x, 4] for x in (0, 1)]
    counts = np.array([words.count("a"), words.count("b")])
    expected = ways[0] / sum(ways)
    error = np.sqrt(expected * (1 - expected) / counts.sum())
    assert counts[0] / counts.sum() == pytest.approx(expected, abs=4 * error)


# --- what is computed ---


@pytest.fixture(scope="module")
def model():
    return fresh_model(0)


@pytest.fixture(scope="module")
def log_probs(model):
    return answer_log_probs(model, prompt_ids(model))


def test_the_sampler_gives_answers_as_often_as_is_computed(model, log_probs):
    np.testing.assert_allclose(np.exp(log_probs).sum(1), 1, rtol=1e-5)
    samples = draw_samples(sampler(model), 250, 0, "test")
    told = [each.sum() for each in samples.log_probs]
    np.testing.assert_allclose(
        told, log_probs[samples.prompts, samples.answers], atol=1e-4
    )
    # How often words end at once, or are one letter long.
    short = np.exp(log_probs)[:, :5].sum(1)
    drawn = np.bincount(samples.prompts[samples.answers < 5], minlength=len(PROMPTS))
    errors = np.sqrt(short * (1 - short) / 250)
    assert np.all(np.abs(drawn / 250 - short) < 4 * errors + 1e-9)


def test_a_divergence_by_hand():
    policy, reference = np.log([[0.5, 0.25, 0.25]]), np.log([[0.25, 0.25, 0.5]])
    # u = 2, 1, 1/2
    assert exact_divergence(policy, reference, REVERSE_KL) == pytest.approx(
        0.25 * np.log(2), rel=1e-5
    )
    f = (np.sqrt([2, 1, 0.5]) - [1.5, 1, 0.75]) / -0.25  # f(u), α = 1/2
    assert exact_divergence(policy, reference, alpha_divergence(0.5)) == pytest.approx(
        np.dot([0.25, 0.25, 0.5], f), rel=1e-4
    )


def test_what_a_policy_gave_up_costs_all_that_it_can():
    with np.errstate(divide="ignore"):
        policy = np.log([[1.0, 0.0]])
    reference = np.log([[0.5, 0.5]])
    assert exact_divergence(policy, reference, REVERSE_KL) == pytest.approx(np.log(2))
    # f(2) / 2 + f(0) / 2, f(u) = u log u - (u + 1) log((u + 1) / 2)
    expected = (2 * np.log(2) - 3 * np.log(1.5)) / 2 + np.log(2) / 2
    found = exact_divergence(policy, reference, JENSEN_SHANNON)
    assert found == pytest.approx(expected, rel=1e-5)
    assert exact_divergence(policy, reference, FORWARD_KL) > 30


@pytest.mark.parametrize("divergence", [REVERSE_KL, JENSEN_SHANNON, FORWARD_KL])
def test_nobody_is_above_the_optimum(log_probs, divergence):
    rewards = standardised(raw_rewards(draw_task(0)), log_probs)
    np.testing.assert_allclose(np.sum(np.exp(log_probs) * rewards, 1), 0, atol=1e-6)
    assert reward_correlation(rewards, rewards, log_probs) == pytest.approx(1)
    curve = optimum_curve(log_probs, rewards, divergence, np.array([0.1, 1.0, 10.0]))
    assert curve[0]["reward"] > curve[1]["reward"] > curve[2]["reward"] > 0
    assert curve[0]["divergence"] > curve[1]["divergence"] > curve[2]["divergence"]
    rng = np.random.default_rng(0)
    for best in curve:
        for slope, noise in ((1 / best["beta"], 0), (0.5, 0.5), (0.9, 0.1), (0, 1)):
            tilted = (
                log_probs + slope * rewards + noise * rng.normal(size=rewards.shape)
            )
            other = tilted - np.log(np.exp(tilted).sum(1, keepdims=True))
            gain = exact_reward(other, rewards) - best["beta"] * exact_divergence(
                other, log_probs, divergence
            )
            most = best["reward"] - best["beta"] * best["divergence"]
            assert gain <= most + 1e-4


# --- what is learnt from ---


def test_neighbours_stay_neighbours(model):
    samples = shuffled(
        draw_samples(sampler(model), 8, 0, "pairs"), np.random.default_rng(0)
    )
    first, second = samples.prompts.reshape(-1, 2).T
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first)) == len(PROMPTS)
    for answer, token_ids in zip(samples.answers, samples.token_ids, strict=True):
        assert answer_number(token_ids) == answer


def test_an_epoch_holds_each_example_once():
    batches = batches_of(list("abcdef"), 4, np.random.default_rng(0))
    drawn = [next(batches) for _ in range(3)]
    assert all(len(batch) == 4 for batch in drawn)
    both = sum(drawn, [])
    assert sorted(both[:6]) == sorted(both[6:]) == list("abcdef")


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
