"""From requests to completions."""

import copy
import dataclasses
import gc
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from sophia_jax.config import SamplingConfig
from sophia_jax.data.packing import Example, pack_examples
from sophia_jax.data.prompts import encode_prompt
from sophia_jax.generation import decode
from sophia_jax.generation import engine as engine_module
from sophia_jax.generation import scheduler as scheduler_module
from sophia_jax.generation.engine import Engine, generate
from sophia_jax.generation.images import encode_images
from sophia_jax.generation.layout import make_layout, page_bytes
from sophia_jax.training.step import policy_log_probs
from sophia_jax.types import InputError, Request

SAMPLING = SamplingConfig(max_new_tokens=12)
BUCKET = 16


@pytest.fixture(scope="module")
def text_engine(text_model):
    return Engine(text_model, SAMPLING, slots=8, page=8, bucket=BUCKET)


@pytest.fixture(scope="module")
def vision_engine(vision_model):
    return Engine(vision_model, SAMPLING, slots=8, page=8, bucket=BUCKET)


def request_of_length(model, length, images=(), tiles_per_image=(), **fields):
    """A request whose prompt has just so many tokens."""
    for text in ("=" * n for n in itertools.count()):
        ids = encode_prompt(
            model.tokenizer, model.config, text, tiles_per_image=tiles_per_image
        )
        if len(ids) == length:
            fields = {"group": f"{length} {images}", "num_samples": 2} | fields
            return Request(text=text, images=images, **fields)
        assert len(ids) < length


def requests_around(model, edges, images=(), tiles_per_image=()):
    """Prompts of one token less than a bucket takes, of as many, and of one more."""
    return [
        request_of_length(model, edge + beside, images, tiles_per_image, seed=edge)
        for edge in edges
        for beside in (-1, 0, 1)
    ]


@pytest.fixture(scope="module")
def scored(vision_model):
    """Log-probabilities by the training forward, of prompts and samples packed."""
    log_probs = jax.jit(policy_log_probs, static_argnums=0)

    def scored(requests, completions):
        by_group = {request.group: request for request in requests}

        def example(completion):
            request = by_group[completion.group]
            features = encode_images(vision_model, request.images)
            prompt_ids = encode_prompt(
                vision_model.tokenizer,
                vision_model.config,
                request.text,
                tiles_per_image=[len(tiles) for tiles in features],
            )
            images = np.concatenate(features) if features else None
            return Example(prompt_ids, completion.token_ids, images)

        batch = pack_examples(
            [example(completion) for completion in completions],
            vision_model.config,
            row_length=128,
        )
        result = log_probs(vision_model.graphdef, vision_model.params, batch)
        return [
            np.asarray(row)[: len(completion.token_ids)]
            for row, completion in zip(result, completions, strict=True)
        ]

    return scored


def test_a_think_tag_that_the_template_opens_is_part_of_the_text(text_model):
    """As with QwQ and DeepSeek-R1, whose answers lack the tag's beginning."""
    tokenizer = copy.deepcopy(text_model.tokenizer)
    tokenizer.chat_template += (
        "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"
    )
    model = dataclasses.replace(text_model, tokenizer=tokenizer)
    sampling = SamplingConfig(max_new_tokens=8)
    request = Request("a", "1 + 2?", num_samples=4)
    for completion in generate(model, [request], sampling=sampling, slots=4):
        said = tokenizer.decode(completion.token_ids).removesuffix("<|im_end|>")
        assert completion.text == f"<think>\n{said}"


def test_the_training_forward_agrees_at_every_bucket_edge(
    vision_model, vision_engine, scored, pictures
):
    # Buckets end at 32 and 48 tokens; 1, 3, and 1 + 3 tiles of 4 tokens.
    text = requests_around(vision_model, [32, 48])
    one = requests_around(vision_model, [32, 48], (pictures["one"],), (1,))
    wide = requests_around(vision_model, [32, 48], (pictures["wide"],), (3,))
    both = (pictures["one"], pictures["wide"])
    two = requests_around(vision_model, [48], both, (1, 3))
    requests = text + one + wide + two
    completions = list(vision_engine(requests))
    assert len(completions) == 2 * len(requests)
    expected = scored(requests, completions)
    for completion, log_probs in zip(completions, expected, strict=True):
        np.testing.assert_allclose(
            completion.policy_log_probs, log_probs, atol=1e-4, err_msg=completion.group
        )


def test_pictures_count(vision_engine, pictures):
    asked = Request(group="one", text="Read.", images=(pictures["one"],))
    other = dataclasses.replace(asked, group="other", images=(pictures["another"],))
    [first, second] = vision_engine([asked, other])
    assert first.policy_log_probs[0] != second.policy_log_probs[0]


@pytest.mark.parametrize("with_pictures", [False, True])
def test_a_group_s_samples_do_not_depend_on_the_other_requests(
    vision_model, vision_engine, pictures, with_pictures
):
    images = ((pictures["wide"],), (3,)) if with_pictures else ()
    asked = request_of_length(vision_model, 30, *images, group="asked", seed=2**63)
    others = [
        request_of_length(vision_model, length, *images, group=f"{length} {with_it}")
        for length in (29, 31, 30, 47)
        for with_it, images in [("text", ()), ("one", ((pictures["one"],), (1,)))]
    ]
    alone = list(vision_engine([asked]))
    for requests in (
        [asked, *others],
        [*others, asked],
        [*others[:3], asked, others[4]],
    ):
        beside = [c for c in vision_engine(requests) if c.group == "asked"]
        assert [c.sample for c in beside] == [0, 1]
        for one, other in zip(alone, beside, strict=True):
            np.testing.assert_array_equal(one.token_ids, other.token_ids)
            for name in ("policy_log_probs", "behavior_log_probs"):
                values = getattr(one, name), getattr(other, name)
                np.testing.assert_allclose(*values, atol=1e-5)


def test_programs_are_bounded_whatever_is_asked(vision_model, pictures):
    # Prompts of 2 to 60 tokens, with and without 1 to 4 tiles; 1 to 9 samples each.
    one, wide = pictures["one"], pictures["wide"]
    shown = [((), ()), ((one,), (1,)), ((wide,), (3,)), ((wide, one), (3, 1))]
    requests = [
        request_of_length(
            vision_model,
            length,
            images,
            tiles,
            group=f"{length} {tiles}",
            num_samples=1 + length % 9,
        )
        for length in (30, 31, 32, 33, 40, 48, 60)
        for images, tiles in shown
        if length > 42 or len(images) < 2  # two take 42 with the words between them
    ]
    programs = (decode.decode_chunk, decode.fill_prompts, decode.close_pages)

    def compiled():
        return [program._cache_size() for program in programs]

    engine = Engine(vision_model, SamplingConfig(2), slots=32, page=8, bucket=BUCKET)
    before = compiled()
    assert len(list(engine(requests))) == sum(r.num_samples for r in requests)
    # The same again in another order, and in parts.
    list(engine(requests[::-1]))
    list(engine(requests[:3]))
    decoding, filling, closing = np.subtract(compiled(), before)
    # Each lane's 16 slots are halved once, to 8; 3 shapes of who reads prompts.
    assert decoding <= 2 * 3
    assert closing <= 2
    # 3 numbers of groups, and 4 widths up to 64 tokens, with and without pictures.
    assert filling <= 3 * 4 * 2


def test_a_smaller_last_batch_compiles_nothing(text_model):
    engine = Engine(text_model, SAMPLING, slots=8, page=8, bucket=BUCKET)
    list(engine(Request(str(n), "1 + 2", num_samples=8) for n in range(4)))
    compiled = decode.decode_chunk._cache_size()
    list(engine([Request("last", "1 + 2", num_samples=1)]))
    assert decode.decode_chunk._cache_size() == compiled


def test_engines_of_one_shape_share_their_program(text_model, text_engine):
    asked = Request(group="asked", text="1 + 2")
    list(text_engine([asked]))
    compiled = decode.decode_chunk._cache_size()
    trained = dataclasses.replace(
        text_model, params=jax.tree.map(lambda x: x * 1.01, text_model.params)
    )
    list(Engine(trained, SAMPLING, slots=8, page=8, bucket=BUCKET)([asked]))
    assert decode.decode_chunk._cache_size() == compiled


def test_renewed_weights_are_sampled_with_by_the_same_programs(text_model):
    engine = Engine(text_model, SAMPLING, slots=8, page=8, bucket=BUCKET)
    asked = [Request("asked", "1 + 2", num_samples=8)]

    def sampled(engine):
        answers = sorted(engine(asked), key=lambda answer: answer.sample)
        return [answer.token_ids.tolist() for answer in answers]

    before = sampled(engine)
    compiled = decode.decode_chunk._cache_size(), decode.fill_prompts._cache_size()
    params = jax.tree.map(lambda x: x * 1.3, text_model.params)
    renewed = dataclasses.replace(text_model, params=params)
    released = engine.release(["decoder"])
    assert released["decoder"] is text_model.params["decoder"]
    with pytest.raises(ValueError, match="got none of .'decoder'.; see renew"):
        sampled(engine)
    engine.renew({"decoder": params["decoder"]})
    after = sampled(engine)
    assert after != before
    assert compiled == (
        decode.decode_chunk._cache_size(),
        decode.fill_prompts._cache_size(),
    )
    assert after == sampled(Engine(renewed, SAMPLING, slots=8, page=8, bucket=BUCKET))
    engine.renew(released)
    assert sampled(engine) == before


def test_weights_are_not_changed_under_a_run_nor_to_others(vision_model):
    engine = Engine(vision_model, SAMPLING, slots=8, page=8, bucket=BUCKET)
    decoder = {"decoder": vision_model.params["decoder"]}
    started = engine([Request("asked", "1 + 2")])
    for change in (lambda: engine.renew(decoder), lambda: engine.release(decoder)):
        with pytest.raises(ValueError, match="expected no run under way"):
            change()
    list(started)
    engine.renew(decoder)
    for part in ("vision", "adapters"):
        with pytest.raises(ValueError, match=f"parts of .'decoder'., got '{part}'"):
            engine.renew({part: {}})
    smaller = jax.tree.map(lambda x: x[:1], decoder)
    with pytest.raises(ValueError, match="decoder in the shapes and dtypes"):
        engine.renew(smaller)


def test_nothing_asked_nothing_answered(text_engine):
    assert list(text_engine(iter([]))) == []


def test_a_group_larger_than_the_rows_is_sampled_whole(text_engine):
    completions = list(text_engine([Request(group="a", text="1", num_samples=19)]))
    assert sorted(c.sample for c in completions) == list(range(19))
    assert len({c.token_ids.tobytes() for c in completions}) > 1


def test_groups_of_different_sizes_are_all_answered(text_engine):
    requests = [
        Request(group=str(n), text="=" * (n % 7), num_samples=1 + n % 2)
        for n in range(40)
    ]
    completions = list(text_engine(requests))
    answered = sorted((int(c.group), c.sample) for c in completions)
    assert answered == [(n, k) for n in range(40) for k in range(1 + n % 2)]


def test_texts_lack_the_end_token_and_token_ids_have_it(text_model, text_engine):
    completions = list(
        text_engine(Request(str(n), "=" * (n % 5), seed=n) for n in range(64))
    )
    end = text_model.tokenizer.eos_token_id
    for completion in completions:
        ids = completion.token_ids.tolist()
        assert len(completion.behavior_log_probs) == len(ids)
        assert len(completion.policy_log_probs) == len(ids)
        if completion.finish_reason == "stop":
            assert ids.index(end) == len(ids) - 1
            assert completion.text == text_model.tokenizer.decode(ids[:-1])
        else:
            assert end not in ids
            assert len(ids) == SAMPLING.max_new_tokens
            assert completion.text == text_model.tokenizer.decode(ids)
    assert {c.finish_reason for c in completions} == {"stop", "length"}


def with_large_logit(model, token):
    """A model that says nothing but one token, if it may."""
    head = model.params["decoder"]["lm_head"]["kernel"]
    head = head.at[0, token].set(1e4)
    decoder = model.params["decoder"] | {"lm_head": {"kernel": head}}
    return dataclasses.replace(model, params=model.params | {"decoder": decoder})


@pytest.mark.parametrize("kind", ["text_model", "vision_model"])
def test_an_image_placeholder_is_never_drawn(kind, request):
    model = request.getfixturevalue(kind)
    placeholder = model.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    insisting = with_large_logit(model, placeholder)
    engine = Engine(insisting, SAMPLING, slots=8, page=8, bucket=BUCKET)
    completions = list(engine([Request(group="a", text="1 + 2", num_samples=8)]))
    drawn = np.concatenate([completion.token_ids for completion in completions])
    assert placeholder not in drawn
    # Another token, insisted upon as much, is all that is drawn.
    insisting = with_large_logit(model, 7)
    engine = Engine(insisting, SAMPLING, slots=8, page=8, bucket=BUCKET)
    completions = list(engine([Request(group="a", text="1 + 2", num_samples=8)]))
    assert {tuple(c.token_ids) for c in completions} == {(7,) * SAMPLING.max_new_tokens}


def test_requests_are_taken_as_they_are_needed(text_engine):
    endless = (Request(group=str(n), text="1 + 2") for n in itertools.count())
    completions = text_engine(endless)
    assert len(list(itertools.islice(completions, 20))) == 20
    completions.close()
    # One batch of 8 is handed out, one is on the device, and 32 are read at a time.
    assert int(next(endless).group) <= 64


def test_an_error_among_the_requests_comes_through(text_engine):
    def failing():
        yield Request(group="a", text="1 + 2")
        raise KeyError("the requests' own")

    with pytest.raises(KeyError, match="the requests' own"):
        list(text_engine(failing()))


@pytest.mark.parametrize(
    ("requests", "error", "match"),
    [
        (
            [Request("a", "1"), Request("a", "2")],
            ValueError,
            "'a': expected each group",
        ),
        ([Request("a", "1", num_samples=0)], ValueError, "num_samples > 0, got 0"),
        ([Request("a", "1", seed=-1)], ValueError, "seed in .0, 2..64., got -1"),
        ([Request("a", "1", seed=2**64)], ValueError, "got 18446744073709551616"),
        ([Request("a", "1", images=("x.png",))], InputError, "expected no pictures"),
        ([Request("a", "=" * 500)], InputError, "at most 256 tokens with its answer"),
    ],
)
def test_requests_that_cannot_be_answered_are_refused(
    text_engine, requests, error, match
):
    with pytest.raises(error, match=match):
        list(text_engine(requests))


def test_a_placeholder_spelled_by_the_user_is_refused(vision_engine, pictures):
    asked = Request("a", "<IMG_CONTEXT>?", images=(pictures["one"],))
    with pytest.raises(InputError, match=r"expected 4 image placeholders .* got 5"):
        list(vision_engine([asked]))


@pytest.mark.parametrize("option", ["slots", "page", "bucket"])
def test_sizes_of_zero_are_refused(text_model, option):
    with pytest.raises(ValueError, match=f"{option}: expected > 0, got 0"):
        Engine(text_model, SAMPLING, **{option: 0})


def test_a_cancelled_group_stops_and_says_what_it_has(token_engine, random_prompts):
    prompts = random_prompts(*[9] * 12)
    engine = token_engine(max_new_tokens=60, slots=8)
    engine.limits_of = {"0": [1, 60, 60]}
    whole = token_engine(max_new_tokens=60).ask(prompts)
    run = engine.run(
        prompts, (Request(n, "", num_samples=3, seed=int(n)) for n in prompts)
    )
    completions = {}
    for completion in run:
        completions[completion.group, completion.sample] = completion
        if (completion.group, completion.sample) == ("0", 0):
            run.cancel("0")
            run.cancel("11")  # is not even read yet
    assert sorted(completions) == sorted((n, k) for n in prompts for k in range(3))
    for (name, sample), completion in completions.items():
        if name == "11":
            assert completion.finish_reason == "cancelled"
            assert len(completion.token_ids) == 0
        elif name == "0" and sample:
            assert completion.finish_reason == "cancelled"
            assert len(completion.token_ids) < 60
        else:
            assert completion.finish_reason == "length"
        said = whole[name, sample].token_ids[: len(completion.token_ids)]
        np.testing.assert_array_equal(completion.token_ids, said)
        assert len(completion.policy_log_probs) == len(completion.token_ids)


def test_a_run_that_is_dropped_halfway_ends_at_once(token_engine, random_prompts):
    engine = token_engine(max_new_tokens=40, slots=2)
    closed = []
    lanes = engine.lanes

    def watched(stops):
        made = lanes(stops)
        for lane in made:
            lane.close = lambda lane=lane: closed.append(lane)
        return made

    engine.lanes = watched
    prompts = random_prompts(*[9] * 6)
    gc.disable()  # else it may end in any thread, its own included
    try:
        next(engine.run(prompts, (Request(n, "", seed=int(n)) for n in prompts)))
        assert len(closed) == 1
    finally:
        gc.enable()


def test_a_group_may_be_cancelled_at_a_length(token_engine, random_prompts):
    prompts = random_prompts(5, 6)
    engine = token_engine(max_new_tokens=120, slots=16)
    run = engine.run(prompts, (Request(n, "", num_samples=3, seed=0) for n in prompts))
    run.cancel("0", after=40)
    lengths = {(c.group, c.sample): len(c.token_ids) for c in run}
    # Found out at the end of the chunk of 8 steps in which all have 40 tokens.
    assert {lengths["0", n] for n in range(3)} <= set(range(40, 57))
    assert {lengths["1", n] for n in range(3)} == {120}


def test_a_stop_can_be_taken_back_by_who_sees_what_has_just_ended(
    token_engine, random_prompts
):
    prompts = random_prompts(5)
    engine = token_engine(max_new_tokens=120, slots=16)
    engine.limits_of = {"0": [40, 120, 120]}
    run = engine.run(prompts, [Request("0", "", num_samples=3, seed=0)])
    run.cancel("0", after=40)  # the first ends in the step in which all have 40
    lengths = {}
    for completion in run:
        lengths[completion.sample] = len(completion.token_ids)
        if completion.sample == 0:
            run.cancel("0", after=1000)
    assert lengths == {0: 40, 1: 120, 2: 120}


def test_cancelling_what_has_just_finished_changes_nothing(
    token_engine, random_prompts
):
    prompts = random_prompts(5, 6)
    engine = token_engine(max_new_tokens=8, slots=16)
    run = engine.run(prompts, (Request(n, "", num_samples=3, seed=0) for n in prompts))
    reasons = []
    for completion in run:
        run.cancel(completion.group)  # all slots finish in one step
        reasons.append(completion.finish_reason)
    assert reasons == ["length"] * 6


def test_equal_beginnings_are_read_once(token_engine, monkeypatch):
    read = []
    before = scheduler_module.stack_pieces

    def watched(pieces, **sizes):
        read.extend((piece.start, piece.stop) for piece in pieces)
        return before(pieces, **sizes)

    monkeypatch.setattr(scheduler_module, "stack_pieces", watched)
    system, question = np.arange(9, 25), np.arange(30, 46)  # two pages each
    engine = token_engine(slots=8, max_new_tokens=4)
    engine.ask(
        {
            "a": [*system, *question, 50, 51],
            "b": [*system, *question, 60],  # all but its own last token is there
            "c": [*system, *question[::-1], 60],
            "d": [*system, *question, 50, 51],
        }
    )
    # a whole (its last token is each sample's first input); of c the question; of b and
    # d nothing but what fills no page of its own.
    assert sorted(read) == [(0, 33), (16, 32)]


@pytest.mark.parametrize("gathered", [0, 2])
def test_pages_side_by_side_follow_what_their_numbers_hold(
    token_engine, random_prompts, full_log_probs, gathered
):
    # Room for the two pages of one prompt: the next takes the same numbers.
    prompts = random_prompts(17, 17, 17)
    engine = token_engine(max_new_tokens=6, slots=1)
    engine.layout = dataclasses.replace(
        engine.layout, num_pages=2, gathered=gathered, spare=2.0
    )
    engine.shapes = {}
    completions = engine.ask(prompts, num_samples=1)
    [shape] = engine.shapes["prompts", 1]
    assert shape.gathered == gathered
    for (name, _), completion in completions.items():
        rows = full_log_probs(prompts[name], completion.token_ids)
        expected = rows[np.arange(6), completion.token_ids]
        np.testing.assert_allclose(completion.policy_log_probs, expected, atol=2e-5)


@pytest.mark.parametrize("slots", [4, 6])
def test_gathering_changes_no_sample(token_engine, random_prompts, slots):
    # Samples of up to four pages, some of which are put back for want of room.
    prompts = random_prompts(*[17, 18, 19, 33] * 4)
    engine = token_engine(max_new_tokens=30, slots=slots)
    expected = engine.ask(prompts)
    gathering = token_engine(max_new_tokens=30, slots=slots)
    gathering.layout = dataclasses.replace(
        gathering.layout, num_pages=40, gathered=60, spare=2.0
    )
    gathering.shapes = {}
    completions = gathering.ask(prompts)
    assert any(shape.gathered > 1 for shape in gathering.shapes["own", slots])
    for where, completion in completions.items():
        np.testing.assert_array_equal(
            completion.token_ids, expected[where].token_ids, err_msg=str(where)
        )
        np.testing.assert_allclose(
            completion.policy_log_probs, expected[where].policy_log_probs, atol=2e-5
        )


def test_a_prompt_longer_than_a_piece_is_read_in_pieces(
    token_engine, random_prompts, full_log_probs
):
    prompts = random_prompts(150, 40)
    engine = token_engine(max_new_tokens=20)
    engine.layout = dataclasses.replace(engine.layout, piece=32)
    for (name, _), completion in engine.ask(prompts).items():
        rows = full_log_probs(prompts[name], completion.token_ids)
        expected = rows[np.arange(20), completion.token_ids]
        np.testing.assert_allclose(completion.policy_log_probs, expected, atol=2e-5)


def test_a_cache_that_does_not_fit_is_refused_before_it_is_made(text_model):
    # A page of 8 tokens: 2 layers, 2 heads of 8 numbers, keys and values: 2 KiB. The
    # longest sequence has 256 tokens, 32 pages and 2 more at its ends.
    with pytest.raises(InputError, match=r"for 4 slots and one sequence of 256 tokens"):
        Engine(text_model, SAMPLING, slots=4, page=8, cache_gib=1e-6)
    with pytest.raises(InputError, match=r"got 0\.00 GiB; 1 slots would fit"):
        Engine(text_model, SAMPLING, slots=4, page=8, cache_gib=35.5 * 2048 / 2**30)
    with pytest.raises(InputError, match="that are available, got"):
        make_layout(
            text_model.config.text,
            np.float32,
            slots=4,
            page=8,
            chunk=8,
            bucket=8,
            few_programs=True,
            cache_bytes=2**30,
            available_bytes=2**10,
        )


def test_the_cache_keeps_to_its_bound(text_model):
    config = text_model.config.text
    layout = make_layout(
        config,
        np.float32,
        slots=4,
        page=8,
        chunk=8,
        bucket=8,
        few_programs=False,
        cache_bytes=100 * 1024,
        available_bytes=None,
    )
    size = page_bytes(config, np.float32, 8)
    assert size == 2 * 2 * 2 * 8 * 8 * 4
    held = layout.num_pages + layout.slots + layout.gathered
    assert held * size <= 100 * 1024
    assert (held + 1) * size > 100 * 1024
    # Pages side by side hold nothing that is not in a page as well.
    assert 0 < layout.gathered <= 100 * 1024 / size / 4


@pytest.mark.parametrize(
    ("slots", "few_programs", "sizes"),
    [
        (64, True, (64, 32, 16, 8)),
        (16, False, (16, 14, 12, 10, 8, 6, 4, 3, 2)),
        (9, False, (9, 8, 7, 6, 5, 4, 3, 2)),
        (1, False, (1,)),
    ],
)
def test_programs_get_smaller_in_steps(text_model, slots, few_programs, sizes):
    layout = make_layout(
        text_model.config.text,
        np.float32,
        slots=slots,
        page=8,
        chunk=8,
        bucket=8,
        few_programs=few_programs,
        cache_bytes=None,
        available_bytes=None,
    )
    assert layout.sizes == sizes
    assert (layout.gathered == 0) == few_programs


def test_an_empty_prompt_is_refused(text_model, monkeypatch):
    engine = Engine(text_model, SAMPLING, slots=8, page=8, bucket=BUCKET)

    def empty(*arguments, **options):
        return np.zeros(0, np.int32)

    monkeypatch.setattr(engine_module, "encode_prompt", empty)
    with pytest.raises(InputError, match="'a': expected a prompt that ends with text"):
        list(engine([Request("a", "1")]))


def test_a_bfloat16_model_computes_and_samples_in_bfloat16(text_model):
    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), text_model.params)
    model = dataclasses.replace(text_model, params=narrow)
    embeds = nnx.merge(model.graphdef, narrow).decoder.embedding(jnp.arange(3)[None])
    assert embeds.dtype == jnp.bfloat16
    first, narrow_first = (
        next(generate(each, [Request("a", "12 + 34")], sampling=SAMPLING, slots=2))
        for each in (text_model, model)
    )
    # Eight bits of precision, in logits of about 4.
    off = narrow_first.policy_log_probs[0] - first.policy_log_probs[0]
    assert 0 < abs(off) < 0.1


def test_an_engine_gives_its_weights_and_its_cache_up(text_model):
    copied = dataclasses.replace(
        text_model, params=jax.tree.map(jnp.copy, text_model.params)
    )
    engine = Engine(copied, SamplingConfig(4), slots=8)
    list(engine([Request("once", "1 + 1")]))
    held = jax.tree.leaves((copied.params, [p._idle_pages for p in engine._places]))
    engine.give_up()
    assert len(held) > len(jax.tree.leaves(copied.params))
    assert all(array.is_deleted() for array in held)
