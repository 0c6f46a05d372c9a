"""On-policy learning: rewards rise, weights are the step's, kills leave no trace."""

import dataclasses
import functools
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sophia_jax.config import GrpoConfig, LoraConfig, OptimizerConfig, SamplingConfig
from sophia_jax.data.packing import Example
from sophia_jax.generation import decode
from sophia_jax.generation.engine import Engine
from sophia_jax.generation.logits import sampling_logits
from sophia_jax.grpo import train_on_policy
from sophia_jax.losses import grpo_token_loss, leave_one_out_advantages
from sophia_jax.models.adapters import add_adapters
from sophia_jax.models.moving import move_model
from sophia_jax.preemption import Preempted, watch_signals
from sophia_jax.rewards import Verdict
from sophia_jax.rollouts.groups import draw_questions
from sophia_jax.sharding import parse_mesh
from sophia_jax.sharding.roles import sampling_partition, training_partition
from sophia_jax.training import objectives, passes
from sophia_jax.training.loop import TrainingConfig
from sophia_jax.training.metrics import read_metrics
from sophia_jax.types import InputError, Item

ITEMS = [Item(f"q{n}", f"{n} + 2 = ?", "", ()) for n in range(3)]
SECONDS = ("sampling_seconds", "update_seconds")


def say_nothing(pairs):
    """Only an answer that ends at once is right."""
    return [Verdict.WRONG if response else Verdict.RIGHT for response, _ in pairs]


def always(verdict):
    return lambda pairs: [verdict for _ in pairs]


@pytest.fixture(scope="module")
def policy(text_model):
    """It never says an image placeholder, so that to ban it changes nothing."""
    decoder = text_model.params["decoder"]
    banned = text_model.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    head = decoder["lm_head"]["kernel"].at[0, banned].set(-20.0)
    decoder = decoder | {"lm_head": {"kernel": head}}
    return dataclasses.replace(
        text_model, params=text_model.params | {"decoder": decoder}
    )


def make_engine(model, **sampling):
    return Engine(model, SamplingConfig(8, **sampling), slots=8, page=8, bucket=16)


def run(policy, folder, verify=say_nothing, *, engine=None, steps=5, **options):
    config = {"num_questions": 2, "num_answers": 16} | options.pop("config", {})
    training = {"batch_size": 32, "row_length": 64, "checkpoint_every": 2}
    training |= options.pop("training", {})
    optimizer = OptimizerConfig(num_steps=6, learning_rate=1e-2)
    return train_on_policy(
        policy,
        engine or make_engine(policy),
        verify,
        ITEMS,
        GrpoConfig(num_steps=steps, **config),
        TrainingConfig(optimizer, **training),
        folder,
        **options,
    )


def metrics(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [{n: x for n, x in row.items() if n not in SECONDS} for row in rows]


class Killed(Exception):
    pass


def before_step(number, act):
    """A track that does something before a step."""

    def track(steps, description, total):
        for step in steps:
            if step == number:
                act()
            yield step

    return track


@pytest.fixture(scope="module")
def undisturbed(policy, tmp_path_factory):
    """A run's policy and folder, and how many decoding programs each step found."""
    folder, programs = tmp_path_factory.mktemp("undisturbed"), []

    def track(steps, description, total):
        for step in steps:
            programs.append(decode.decode_chunk._cache_size())
            yield step

    return run(policy, folder, track=track), folder, programs


def assert_same_weights(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def test_a_policy_learns_what_is_rewarded(undisturbed):
    rewards = [row["reward"] for row in metrics(undisturbed[1])]
    assert rewards[0] < 0.4
    assert min(rewards[-2:]) > 0.9


def test_each_step_is_sampled_with_the_weights_that_it_updates(undisturbed):
    learning = [row for row in metrics(undisturbed[1]) if row["updates"]]
    assert len(learning) > 2
    for row in learning:
        # The training forward agrees with the sampler about the very weights.
        assert row["sampler_gap"] < 1e-4
        assert abs(row["log_ratio"]) < 1e-4
        assert row["clip_share"] == 0


def test_new_weights_need_no_new_programs(undisturbed):
    programs = undisturbed[2]
    assert programs[1] > programs[0]  # of the first step's sampling
    assert len(set(programs[1:])) == 1


def test_the_given_policy_is_left_as_it_is(policy, text_model, undisturbed):
    for part in ("layers", "embedding"):
        jax.tree.map(
            np.testing.assert_array_equal,
            policy.params["decoder"][part],
            text_model.params["decoder"][part],
        )
    assert np.any(
        undisturbed[0].params["decoder"]["lm_head"]["kernel"]
        != policy.params["decoder"]["lm_head"]["kernel"]
    )


def test_a_donated_policy_is_not_copied(policy, tmp_path, undisturbed):
    given = dataclasses.replace(policy, params=jax.tree.map(jnp.array, policy.params))
    trained = run(given, tmp_path, engine=make_engine(given), donate=True)
    assert_same_weights(trained, undisturbed[0])
    assert all(x.is_deleted() for x in jax.tree.leaves(given.params["decoder"]))


def test_a_run_that_died_ends_as_if_it_had_not(policy, tmp_path, undisturbed):
    def die():
        raise Killed

    with pytest.raises(Killed):
        run(policy, tmp_path, track=before_step(3, die))
    assert_same_weights(run(policy, tmp_path), undisturbed[0])
    assert metrics(tmp_path) == metrics(undisturbed[1])


def test_a_run_that_is_told_to_stop_leaves_its_step_and_saves(
    policy, tmp_path, undisturbed
):
    stop = functools.partial(os.kill, os.getpid(), signal.SIGTERM)
    with watch_signals(), pytest.raises(Preempted, match="SIGTERM"):
        run(policy, tmp_path, track=before_step(1, stop))
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert len(metrics(tmp_path)) == 1
    assert_same_weights(run(policy, tmp_path), undisturbed[0])
    assert metrics(tmp_path) == metrics(undisturbed[1])


@pytest.mark.parametrize(
    ("verdict", "reward"), [(Verdict.RIGHT, 1), (Verdict.UNDECIDED, 0)]
)
def test_groups_of_equal_rewards_teach_nothing(policy, tmp_path, verdict, reward):
    # What is cut off is wrong, so no answer may be.
    engine = make_engine(policy)
    engine.sampling = dataclasses.replace(engine.sampling, max_new_tokens=100)
    trained = run(policy, tmp_path, always(verdict), engine=engine, steps=1)
    [row] = metrics(tmp_path)
    assert (row["reward"], row["dropped"], row["updates"]) == (reward, 1, 0)
    assert (row["all_right"], row["all_wrong"]) == (reward, 1 - reward)
    assert row["undecided"] == 1 - reward
    assert "loss" not in row
    assert_same_weights(trained, policy)


def test_what_is_cut_off_is_wrong_and_counted(policy, tmp_path):
    run(policy, tmp_path, always(Verdict.RIGHT), steps=1)
    [row] = metrics(tmp_path)
    assert row["truncated"] > 0
    assert row["reward"] == pytest.approx(1 - row["truncated"])


def test_equal_groups_may_be_kept(policy, tmp_path):
    kept = {"config": {"keep_equal_groups": True}, "steps": 1}
    run(policy, tmp_path, always(Verdict.WRONG), **kept)
    [row] = metrics(tmp_path)
    assert (row["dropped"], row["updates"]) == (0, 1)
    assert row["loss"] == row["gradient_norm"] == 0


def test_at_another_temperature_the_ratio_is_to_what_was_sampled(policy, tmp_path):
    engine = make_engine(policy, temperature=0.7)
    run(policy, tmp_path, engine=engine, steps=1)
    [row] = metrics(tmp_path)
    assert row["sampler_gap"] < 1e-4
    assert row["absolute_log_ratio"] > 0.5  # of a whole answer
    assert row["log_ratio"] < 0  # the likelier is sampled more often than it is likely
    assert row["clip_share"] > 0


@pytest.mark.parametrize(("temperature", "top_p"), [(0.7, 1.0), (1.6, 1.0), (1.0, 0.8)])
def test_the_ratio_corrects_for_temperature_and_not_for_what_was_cut_off(
    temperature, top_p
):
    # Every answer of one token, weighted by how often it is sampled.
    logits = jnp.array([0.9, 0.1, -0.4, 1.6, -1.2])
    gains = jnp.array([1.0, -0.5, 0.3, -1.0, 2.0])
    sampling = SamplingConfig(1, temperature=temperature, top_p=top_p)
    behavior = jax.nn.log_softmax(sampling_logits(logits, sampling))
    sampled = jnp.isfinite(behavior)
    assert bool(sampled.all()) == (top_p == 1)

    def expected_loss(logits):
        loss = grpo_token_loss(
            jax.nn.log_softmax(logits)[:, None],
            jnp.where(sampled, behavior, 0)[:, None],
            gains,
            sampled[:, None],
            clip_low=1.0,
            clip_high=1e6,
        )
        return jnp.sum(jnp.exp(behavior) * loss[:, 0])

    def reward(logits):
        return jnp.sum(jax.nn.softmax(logits) * gains, where=sampled)

    np.testing.assert_allclose(
        jax.grad(expected_loss)(logits), -jax.grad(reward)(logits), atol=1e-6
    )


def reference_gap(log_probs, batch):
    gap = jnp.abs(log_probs - batch.signals[objectives.REFERENCE])
    return {"reference_gap": jnp.max(gap, axis=1, where=batch.target_mask, initial=0)}


def test_a_reference_scores_the_answers(policy, tmp_path):
    run(
        policy,
        tmp_path,
        steps=2,
        objective=objectives.grpo(kl_coefficient=0.1),
        measure=reference_gap,
        reference=policy,
        advantages=leave_one_out_advantages,
    )
    first, second = (row["reference_gap"] for row in metrics(tmp_path))
    assert first < 1e-4  # the policy is the reference yet
    assert second > 0.1


def test_adapters_learn_beside_what_is_frozen(policy, tmp_path):
    model = add_adapters(jax.random.key(0), policy, LoraConfig(4))
    trained = run(model, tmp_path, steps=2, training={"trainable": ("adapters",)})
    assert all(row["sampler_gap"] < 1e-4 for row in metrics(tmp_path))
    for part, same in (("decoder", True), ("adapters", False)):
        leaves = zip(
            *map(jax.tree.leaves, (trained.params[part], model.params[part])),
            strict=True,
        )
        assert all(np.array_equal(*pair) == same for pair in leaves)


def test_weights_go_forth_and_back_between_meshes(policy, tmp_path, undisturbed):
    lanes = sampling_partition(parse_mesh("tensor=1@0:1"), num_kv_heads=lambda: 2)
    learner = training_partition(parse_mesh("fsdp=2"))
    engine = make_engine(move_model(policy, lanes))
    trained = run(move_model(policy, learner), tmp_path, engine=engine, steps=2)
    rows, expected = metrics(tmp_path), metrics(undisturbed[1])[:2]
    assert all(row["sampler_gap"] < 1e-4 for row in rows)
    for name in ("reward", "answer_tokens", "gradient_norm"):
        ours, theirs = ([row[name] for row in each] for each in (rows, expected))
        assert ours == pytest.approx(theirs, rel=1e-3)
    assert trained.partition == learner
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(trained.params))


def test_an_epoch_asks_each_question_at_most_once():
    items = [Item(str(n), "", "", ()) for n in range(11)]
    config = GrpoConfig(num_questions=3, seed=5)
    steps = [draw_questions(items, step, config) for step in range(6)]
    assert all(len(step) == 3 for step in steps)
    epochs = [[item.id for step in steps[n : n + 3] for item in step] for n in (0, 3)]
    assert [len(set(epoch)) for epoch in epochs] == [9, 9]
    assert epochs[0] != epochs[1]
    again = [draw_questions(items, step, config) for step in range(6)]
    assert again == steps
    other = draw_questions(items, 0, dataclasses.replace(config, seed=6))
    assert other != steps[0]


def test_answers_come_in_equal_updates_and_in_each_pass(policy, monkeypatch):
    seen = []

    def note(state, batch):
        seen.append(sorted(x for x in batch.reward.ravel().tolist() if x))
        return state + 1, {"loss": state}

    monkeypatch.setattr(passes, "train_step", note)
    examples = [
        Example(np.array([9]), np.array([10, 11]), reward=n + 1.0) for n in range(10)
    ]
    config = TrainingConfig(OptimizerConfig(1), batch_size=4, row_length=8)
    rng = np.random.default_rng(0)
    state, rows = passes.pass_over(rng, 0, examples, policy, config, passes=2)
    assert (state, [row["loss"] for row in rows]) == (6, [0, 1, 2, 3, 4, 5])
    assert [len(batch) for batch in seen] == [4, 3, 3] * 2
    whole = [sorted(sum(seen[n : n + 3], [])) for n in (0, 3)]
    assert whole == [list(range(1, 11))] * 2
    assert seen[:3] != seen[3:]


def test_batches_that_keep_a_varying_part_of_their_answers_have_few_shapes(policy):
    """A step's questions are dropped by chance; each new shape is compiled."""
    config = TrainingConfig(OptimizerConfig(1), batch_size=128, row_length=208)
    rng, shapes, filled = np.random.default_rng(0), set(), []
    for _ in range(60):
        kept = 8 * rng.integers(1, 17)
        lengths = rng.integers(12, 40, size=kept)
        examples = [
            Example(np.full(40, 9), np.full(length, 10), reward=1.0)
            for length in lengths
        ]
        batch = passes._batch(examples, policy, config)
        shapes.add(str(jax.tree.map(np.shape, batch)))
        filled.append((batch.token_ids.size, kept))
    assert len(shapes) <= 10
    full = max(size for size, _ in filled)
    spare = [size / full - kept / 128 for size, kept in filled]
    assert max(spare) < 0.3  # of a full batch, that a smaller one computes in vain


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"config": {"num_questions": 4}}, InputError, "at most the 3 that there are"),
        ({"training": {"trainable": ("vision",)}}, ValueError, "got .'vision'."),
        ({"config": {"num_answers": 1}}, ValueError, "num_answers: expected >= 2"),
        ({"training": {"row_length": 8}, "steps": 1}, InputError, "row_length=8"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(policy, tmp_path, change, error, match):
    with pytest.raises(error, match=match):
        run(policy, tmp_path, **change)


def test_answers_that_cannot_differ_are_refused(policy, tmp_path):
    engine = make_engine(policy, temperature=0.0)
    with pytest.raises(InputError, match="temperature: expected > 0"):
        run(policy, tmp_path, engine=engine)
