"""Whatever a server does, nothing is lost, nothing is doubled, and no key gets out."""

import json
import re
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import numpy as np
import pytest

import sophia_jax
from sophia_jax.completions import sample_in_order
from sophia_jax.config import SamplingConfig, ServerConfig
from sophia_jax.generation.address import Address, parse_address
from sophia_jax.generation.remote import RemoteModel
from sophia_jax.generation.server import ServerError
from sophia_jax.seeds import sample_seed
from sophia_jax.types import InputError, Request

REQUESTS = [Request(f"g{n}", f"question {n}", num_samples=3, seed=n) for n in range(4)]
SAMPLES = [(request.group, n) for request in REQUESTS for n in range(3)]
TEXTS = [f"about question {n}" for n in range(4) for _ in range(3)]


@pytest.fixture
def remote(chat_server):
    """Makes a model on the server."""

    def make(journal=None, *, sampling=None, **options):
        options = {"concurrency": 4, "timeout_seconds": 10.0, "retries": 4} | options
        return RemoteModel(
            Address(chat_server.url, "a/model"),
            sampling or SamplingConfig(50),
            ServerConfig(**options),
            journal=journal,
        )

    return make


def ask(model, requests=REQUESTS):
    """All completions in order; it is an error if one is lost or comes twice."""
    completions = sample_in_order(model, requests)
    assert [(c.group, c.sample) for c in completions] == [
        (request.group, n) for request in requests for n in range(request.num_samples)
    ]
    return completions


def texts(completions):
    return [completion.text for completion in completions]


def asked_as_streams(chat_server):
    """Requests of a later run: one of a killed run may still arrive meanwhile."""
    return [body for body in chat_server.asked if body.get("stream")]


def fails(code, content=b"an apology", **headers):
    """A fault: an HTTP status."""
    return lambda handler, body: handler.send(content, status=code, **headers)


def says(content, **options):
    """A fault: other bytes."""
    return lambda handler, body: handler.send(content, **options)


def answers(**changes):
    """A fault: an answer that is unusual."""
    return lambda handler, body: handler.answer(body, **changes)


def stalls(handler, body):
    handler.server.ended.wait(30)


def closes(handler, body):
    handler.close_connection = True


def half(handler, body):
    whole = b'data: {"choices": [{"index": 0, "delta": {"content": "about'
    handler.send(whole, kind="text/event-stream", length=500)


HALF = b'{"choices": [{"index": 0, "message": {"content": "about quest'
MESSAGE = {"role": "assistant", "content": "x"}
FAULTS = {
    "stall": (stalls, "timeout"),
    "close": (closes, "connection"),
    "half a reply, broken off": (says(HALF, length=300), "connection"),
    "half a stream, broken off": (half, "connection"),
    "half a reply, as a whole": (says(HALF), "bad reply"),
    "a stream that ends early": (says(b'data: {"choices": [{"delta": '), "bad reply"),
    "garbage": (says(bytes(range(256))), "bad reply"),
    "nothing": (says(b""), "bad reply"),
    "no object": (says(b"[1, 2]"), "bad reply"),
    "deep nesting": (says(b"[" * 100_000), "bad reply"),
    "no choices": (says(b"{}"), "bad reply"),
    "no choice": (says(b'{"choices": []}'), "bad reply"),
    "choices of another type": (says(b'{"choices": "all"}'), "bad reply"),
    "two choices": (
        says(json.dumps({"choices": [{"message": MESSAGE}] * 2}).encode()),
        "bad reply",
    ),
    "no message": (says(b'{"choices": [{"finish_reason": "stop"}]}'), "bad reply"),
    "no end": (answers(finish_reason=None), "bad reply"),
    "an unknown end": (answers(finish_reason="abort"), "bad reply"),
    "text of another type": (answers(message={"content": [1]}), "bad reply"),
    "an error inside": (says(b'{"error": {"message": "sorry"}}'), "bad reply"),
    "an error in its stead": (
        says(b'{"object": "error", "message": "sorry", "code": 500}'),
        "bad reply",
    ),
    "408": (fails(408), "HTTP 408"),
    "409": (fails(409), "HTTP 409"),
    "429": (fails(429), "HTTP 429"),
    "429 and a wait": (fails(429, Retry_After="0.1"), "HTTP 429"),
    "429 and nonsense": (fails(429, Retry_After="soon"), "HTTP 429"),
    "500": (fails(500), "HTTP 500"),
    "503": (fails(503, b"\x00\xff"), "HTTP 503"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["at once", "streamed"])
@pytest.mark.parametrize("name", FAULTS)
def test_no_fault_loses_or_doubles_anything(name, stream, chat_server, remote):
    fault, reason = FAULTS[name]
    chat_server.faults = [None, fault, None, fault]
    timeout = 0.5 if name == "stall" else 10.0
    model = remote(stream=stream, timeout_seconds=timeout)
    assert texts(ask(model)) == TEXTS
    usage = model.usage()
    assert usage["retries"] == {reason: 2}
    assert (usage["requests"], usage["answers"]) == (14, 12)
    assert len(chat_server.asked) == 14


def test_a_request_says_all_that_decides_its_answer(chat_server, remote):
    model = remote(
        sampling=SamplingConfig(7, temperature=0.5, top_p=0.9, top_k=3),
        fields={"max_tokens": None, "max_completion_tokens": 7, "min_p": 0.1},
    )
    ask(model, [Request("g", "why?", system="think", seed=5, num_samples=2)])
    expected = {
        "model": "a/model",
        "messages": [
            {"role": "system", "content": "think"},
            {"role": "user", "content": "why?"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "max_completion_tokens": 7,
        "min_p": 0.1,
    }
    bodies = sorted(chat_server.asked, key=lambda body: body["seed"])
    seeds = sorted(sample_seed(5, number) for number in range(2))
    assert bodies == [expected | {"seed": seed} for seed in seeds]
    assert seeds[0] != seeds[1]


def test_samples_of_a_prompt_are_asked_side_by_side(chat_server, remote):
    ask(remote(concurrency=1))
    asked = [body["messages"][0]["content"] for body in chat_server.asked]
    assert asked == [f"question {n}" for n in range(4) for _ in range(3)]


def test_no_more_requests_run_than_are_allowed(chat_server, remote):
    running, most = [], []

    def say(body):
        running.append(body)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return "said"

    chat_server.say = say
    ask(remote(concurrency=3))
    assert 1 < max(most) <= 3


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_come_back_before_the_answer(stream, chat_server, remote):
    whole = "<think>\nhm\n</think>\n\nso 4"
    thought = {"reasoning_content": "hm", "content": "so 4"}
    chat_server.faults = [
        answers(message=thought),
        answers(message={"reasoning": "\nhm\n", "content": "\n\nso 4"}),
        answers(text="hm\n</think>\n\nso 4"),
        answers(text=whole),
        answers(message=thought | {"content": None}, finish_reason="length"),
    ]
    said = ask(remote(stream=stream, concurrency=1), [Request("g", "?", num_samples=5)])
    assert texts(said) == [whole] * 4 + ["<think>\nhm"]
    assert [each.finish_reason for each in said] == ["stop"] * 4 + ["length"]


@pytest.mark.parametrize("stream", [False, True])
def test_what_a_server_refuses_is_counted_and_no_success(stream, chat_server, remote):
    chat_server.faults = [
        answers(finish_reason="content_filter", message={"content": None}),
        answers(finish_reason="tool_calls"),
        answers(message={"content": None, "refusal": "I cannot"}),
    ]
    model = remote(stream=stream, concurrency=1)
    said = ask(model, REQUESTS[:2])
    assert [each.finish_reason for each in said] == ["refused"] * 3 + ["stop"] * 3
    assert model.usage()["refused"] == {"content_filter": 2, "tool_calls": 1}
    assert model.usage()["retries"] == {}


def test_halves_of_a_character_are_joined_and_a_lone_one_replaced(chat_server, remote):
    def two_pieces(handler, body):
        events = [{"delta": {"content": piece}} for piece in ("\ud83d", "\ude00\udc00")]
        events.append({"delta": {}, "finish_reason": "stop"})
        lines = [f"data: {json.dumps({'choices': [event]})}\n\n" for event in events]
        handler.send("".join(lines).encode(), kind="text/event-stream")

    chat_server.faults = [two_pieces]
    [said] = ask(remote(stream=True), [Request("g", "?")])
    assert said.text == "\U0001f600\ufffd"


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_taken_where_they_are_offered(
    stream, chat_server, remote
):
    content = [{"token": "a", "logprob": -0.25}, {"token": "b", "logprob": 0}]
    broken = [{"token": "a", "logprob": "high"}]
    chat_server.faults = [
        answers(message={"content": "ab"}, logprobs={"content": content}),
        answers(logprobs={"content": broken}),
        answers(logprobs=None),
    ]
    if stream:  # in which each piece has its own
        chat_server.faults[0] = lambda handler, body: handler.send(
            "".join(
                f"data: {json.dumps({'choices': [choice]})}\n\n"
                for choice in (
                    {"delta": {"content": "a"}, "logprobs": {"content": content[:1]}},
                    {"delta": {"content": "b"}, "logprobs": {"content": content[1:]}},
                    {"delta": {}, "finish_reason": "stop", "logprobs": None},
                )
            ).encode()
        )
    model = remote(stream=stream, concurrency=1, log_probs=True)
    first, *others = ask(model, [Request("g", "?", num_samples=3)])
    assert chat_server.asked[0]["logprobs"] is True
    np.testing.assert_array_equal(first.behavior_log_probs, np.float32([-0.25, 0]))
    np.testing.assert_array_equal(first.policy_log_probs, first.behavior_log_probs)
    assert [each.behavior_log_probs for each in others] == [None, None]
    assert model.usage()["answers_without_log_probs"] == 2


def test_log_probabilities_of_another_distribution_are_not_asked_for(remote):
    with pytest.raises(InputError, match="log_probs: expected temperature 1"):
        remote(log_probs=True, sampling=SamplingConfig(5, top_p=0.9))


def test_a_killed_run_asks_nothing_twice(chat_server, remote, tmp_path):
    path = tmp_path / "reasoner" / "journal.jsonl"
    run = remote(path)(REQUESTS)
    first = [next(run) for _ in range(5)]
    run.close()
    # What was being written when the run was killed does not count.
    known = path.read_text().splitlines(keepends=True)
    answered = sum('"key"' in line for line in known)
    assert answered >= 5
    path.write_text("".join(known) + known[0][:20])
    model = remote(path, stream=True)  # however an answer comes, it is the same
    assert texts(ask(model)) == TEXTS
    assert len(asked_as_streams(chat_server)) == 12 - answered
    assert {(c.group, c.sample) for c in first} <= set(SAMPLES)
    assert model.usage()["answers"] == 12
    chat_server.asked.clear()
    assert texts(ask(remote(path))) == TEXTS
    assert chat_server.asked == []


KILLED = """
import sys
from pathlib import Path
from sophia_jax.config import SamplingConfig, ServerConfig
from sophia_jax.generation.address import Address
from sophia_jax.generation.remote import RemoteModel
from sophia_jax.types import Request

model = RemoteModel(
    Address(sys.argv[1], "a/model"),
    SamplingConfig(50),
    ServerConfig(concurrency=2),
    journal=Path(sys.argv[2]),
)
asked = [Request(f"g{n}", f"question {n}", num_samples=3, seed=n) for n in range(4)]
list(model(asked))
"""


def test_a_process_that_is_killed_loses_only_what_was_under_way(
    chat_server, remote, tmp_path
):
    reached = threading.Event()

    def never(handler, body):
        reached.set()
        stalls(handler, body)

    chat_server.faults = [None] * 8 + [never] * 2
    arguments = [sys.executable, "-c", KILLED, chat_server.url, tmp_path / "journal"]
    process = subprocess.Popen(arguments, cwd=Path(sophia_jax.__file__).parents[1])
    assert reached.wait(60)
    process.kill()
    process.wait()
    chat_server.faults = []
    model = remote(tmp_path / "journal", stream=True)
    assert texts(ask(model)) == TEXTS
    # Two were under way: one that stalls, and another that may have ended.
    assert 4 <= len(asked_as_streams(chat_server)) <= 5
    assert model.usage()["answers"] == 12


@pytest.mark.parametrize(
    "change",
    [
        {"sampling": SamplingConfig(51)},
        {"fields": {"min_p": 0.5}},
    ],
)
def test_an_answer_to_another_request_is_not_taken_for_it(
    change, chat_server, remote, tmp_path
):
    ask(remote(tmp_path / "journal"))
    chat_server.asked.clear()
    ask(remote(tmp_path / "journal", **change))
    assert len(chat_server.asked) == 12


def test_answers_are_forgotten_when_others_are_asked_for_but_not_their_cost(
    chat_server, remote, tmp_path
):
    path = tmp_path / "journal"
    model = remote(path)
    ask(model, REQUESTS[:2])
    ask(model, REQUESTS[2:])
    assert sum('"key"' in line for line in path.read_text().splitlines()) == 6
    for each in (model, remote(path)):
        assert each.usage()["answers"] == 12
        assert each.usage()["prompt_tokens"] == 120
    assert texts(ask(remote(path), REQUESTS[2:])) == TEXTS[6:]
    assert len(chat_server.asked) == 12


def test_a_journal_that_is_damaged_inside_is_refused(remote, tmp_path):
    path = tmp_path / "journal"
    ask(remote(path))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], "{}\n", *lines[1:]]))
    for use in (lambda model: ask(model), lambda model: model.usage()):
        with pytest.raises(InputError, match=r"journal:2: expected a line of a jour"):
            use(remote(path))


def test_tokens_and_cost_are_counted(chat_server, remote):
    model = remote(prices=(1.0, 0.1, 10.0))
    chat_server.faults = [answers(usage=False)]
    ask(model)
    usage = model.usage()
    # Of 11 answers: 10 tokens of each prompt, 4 of them cached; 3 words of an answer.
    assert usage["prompt_tokens"] == 110
    assert usage["cached_tokens"] == 44
    assert usage["completion_tokens"] == 33
    assert usage["answers_without_usage"] == 1
    assert usage["cost"] == pytest.approx((66 * 1.0 + 44 * 0.1 + 33 * 10.0) / 1e6)
    assert remote().usage()["cost"] is None


def test_what_a_server_claims_to_have_cost_is_not_believed_blindly(chat_server, remote):
    claims = [{"prompt_tokens": -1, "completion_tokens": 2}, [1], "free"]
    claims += [{"prompt_tokens": True, "completion_tokens": 1e300}]
    reply = {"choices": [{"message": MESSAGE, "finish_reason": "stop"}]}
    chat_server.faults = [
        says(json.dumps(reply | {"usage": claim}).encode()) for claim in claims
    ]
    model = remote()
    ask(model, [Request("g", "?", num_samples=4)])
    assert model.usage()["answers_without_usage"] == 4
    assert model.usage()["prompt_tokens"] == 0


def test_the_wait_that_a_server_asks_for_is_kept_by_all(chat_server, remote):
    chat_server.faults = [fails(429, Retry_After="1")]
    start = time.monotonic()
    model = remote(concurrency=1)
    ask(model, REQUESTS[:1])
    assert time.monotonic() - start >= 1
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    chat_server.faults = [fails(503, Retry_After=date)]
    start = time.monotonic()
    ask(remote(concurrency=1), REQUESTS[:1])
    assert time.monotonic() - start >= 1.5  # a date has whole seconds


def test_a_wait_of_hours_is_not_waited_for(chat_server, remote):
    chat_server.faults = [fails(429, Retry_After="86400")]
    with pytest.raises(ServerError, match="asks to wait 86400 s"):
        ask(remote())


def test_a_queue_behind_a_rate_limit_is_no_failure(chat_server, remote):
    served = [0.0]

    def limit(handler, body):
        with chat_server.lock:
            chat_server.faults.append(limit)
            is_open = time.monotonic() - served[0] > 0.1
            if is_open:
                served[0] = time.monotonic()
        handler.answer(body) if is_open else handler.send(b"later", status=429)

    chat_server.faults = [limit] * 12
    model = remote(retries=3, concurrency=12)
    assert texts(ask(model)) == TEXTS
    # All of them together were refused more often than each may be in vain.
    assert model.usage()["retries"]["HTTP 429"] > 12 * 3


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422])
def test_what_no_retry_helps_is_not_tried_again(status, chat_server, remote):
    chat_server.faults = [fails(status)] * 12
    with pytest.raises(InputError) as error:
        ask(remote(concurrency=1))
    message = str(error.value)
    url = f"{chat_server.url}/chat/completions"
    assert message.startswith(f"{url}: expected an answer, got HTTP {status} 'an apol")
    assert ("OPENAI_API_KEY, which is not set" in message) == (status in (401, 403))
    assert len(chat_server.asked) == 1


def test_the_last_failure_is_told_in_one_line_and_the_rest_is_kept(
    chat_server, remote, tmp_path
):
    chat_server.faults = [None, None] + [fails(500, b"out of\nmemory")] * 3
    model = remote(tmp_path / "journal", concurrency=1, retries=2)
    with pytest.raises(ServerError) as error:
        ask(model)
    url = f"{chat_server.url}/chat/completions"
    assert str(error.value) == (
        f"{url}: expected an answer, got HTTP 500 'out of\\nmemory' at try 3; --resume "
        "goes on with what was answered"
    )
    assert model.usage()["retries"] == {"HTTP 500": 3}
    assert texts(ask(remote(tmp_path / "journal"))) == TEXTS
    assert len(chat_server.asked) == 2 + 3 + 10


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "error",
    [{"error": {"message": "no GPU"}}, {"object": "error", "message": "no GPU"}],
)
def test_what_a_server_says_of_its_failure_is_passed_on(
    error, stream, chat_server, remote
):
    line = f"data: {json.dumps(error)}\n\n" if stream else json.dumps(error)
    chat_server.faults = [says(line.encode())] * 4
    with pytest.raises(ServerError, match="expected an answer, got error.*no GPU"):
        ask(remote(retries=0, stream=stream))


def test_a_server_that_is_not_there_is_told_in_one_line():
    address = Address("http://127.0.0.1:9/v1", "m")
    model = RemoteModel(address, SamplingConfig(5), ServerConfig(retries=0))
    with pytest.raises(ServerError, match=r"127.0.0.1:9/v1.*got ConnectError.*try 1"):
        ask(model)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": "context_length_exceeded", "message": "no"}),
        (400, {"message": "This model's maximum context length is 8 tokens."}),
        (400, {"message": "The input is longer than the model's context length"}),
        (413, {"message": "exceeds the context window"}),
    ],
)
def test_a_prompt_that_is_too_long_is_an_outcome(
    status, error, chat_server, remote, tmp_path
):
    content = json.dumps({"error": error}).encode()
    chat_server.faults = [None, fails(status, content)]
    model = remote(tmp_path / "journal", concurrency=1)
    said = ask(model, REQUESTS[:1])
    assert [each.finish_reason for each in said] == ["stop", "too_long", "stop"]
    assert said[1].text == ""
    assert model.usage()["too_long"] == 1
    ask(remote(tmp_path / "journal"), REQUESTS[:1])
    assert len(chat_server.asked) == 3


FILTER = {"innererror": {"content_filter_result": {"hate": {"filtered": True}}}}


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "The prompt was filtered", **FILTER},
        {"code": "content_policy_violation", "message": "Your request was rejected"},
        {"code": "data_inspection_failed", "message": "Input may be inappropriate."},
        {"code": "DataInspectionFailed", "message": "Input may be inappropriate."},
    ],
)
def test_a_prompt_that_a_content_filter_stops_is_an_outcome(
    error, chat_server, remote, tmp_path
):
    content = json.dumps({"error": error}).encode()
    chat_server.faults = [None, fails(400, content)]
    model = remote(tmp_path / "journal", concurrency=1)
    said = ask(model, REQUESTS[:1])
    assert [each.finish_reason for each in said] == ["stop", "refused", "stop"]
    assert said[1].text == ""
    assert model.usage()["refused"] == {"content_filter": 1}
    ask(remote(tmp_path / "journal"), REQUESTS[:1])
    assert len(chat_server.asked) == 3


def test_a_field_that_a_server_does_not_know_is_no_content_filter(chat_server, remote):
    error = {"code": "bad_field", "message": 'got no: "content_filter" is unknown'}
    chat_server.faults = [fails(400, json.dumps({"error": error}).encode())]
    with pytest.raises(InputError, match="HTTP 400 .*content_filter"):
        ask(remote(concurrency=1), REQUESTS[:1])


def test_a_stopped_group_is_neither_begun_nor_finished(chat_server, remote):
    def say(body):
        if body["messages"][0]["content"] == "question 1":
            chat_server.ended.wait(30)
        return "said"

    chat_server.say = say
    model = remote(concurrency=2)
    run = model(REQUESTS)
    run.cancel("g2")
    said = []
    for completion in run:
        said.append(completion)
        if len(said) == 3:  # all of g0; g1 stalls, or will
            run.cancel("g1")
    assert sorted((each.group, each.sample) for each in said) == SAMPLES
    reasons = {each.group: each.finish_reason for each in said}
    assert reasons == {"g0": "stop", "g1": "cancelled", "g2": "cancelled", "g3": "stop"}
    asked = [body["messages"][0]["content"] for body in chat_server.asked]
    assert "question 2" not in asked
    # Two were at work, whether they had reached the server or not.
    assert asked.count("question 1") <= model.usage()["dropped"] <= 2


def test_a_group_that_may_still_have_tokens_goes_on(chat_server, remote):
    run = remote()(REQUESTS)
    run.cancel("g1")
    run.cancel("g1", after=1000)  # the last word counts
    assert {completion.finish_reason for completion in run} == {"stop"}


def test_what_ends_the_loop_ends_the_asking(chat_server, remote):
    def give_up(completion, cancel):
        raise KeyboardInterrupt

    chat_server.say = lambda body: time.sleep(0.05) or "said"
    many = [Request("g", "?", num_samples=200)]
    with pytest.raises(KeyboardInterrupt):
        sample_in_order(remote(), many, give_up)
    time.sleep(0.3)
    asked = len(chat_server.asked)
    time.sleep(0.3)
    assert len(chat_server.asked) == asked < 20


SECRET = "sk-very/secret'key\\1234567890"


@pytest.mark.parametrize("stream", [False, True])
def test_the_key_is_sent_and_never_told(
    stream, chat_server, remote, tmp_path, monkeypatch, capfd, caplog
):
    caplog.set_level(0)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    echo = f"wrong key: Bearer {SECRET}".encode()
    chat_server.faults = [says(echo), fails(500, echo), None, fails(401, echo)]
    model = remote(tmp_path / "journal", concurrency=1, stream=stream)
    with pytest.raises(InputError) as error:
        ask(model)
    assert {each["Authorization"] for each in chat_server.headers} == {
        f"Bearer {SECRET}"
    }
    chat_server.faults = [says(echo)] * 9
    with pytest.raises(ServerError) as last:
        ask(remote(retries=0, stream=stream))
    printed = capfd.readouterr()
    told = [
        *(str(error.value), str(last.value), repr(error.value.__context__)),
        *(printed.out, printed.err, caplog.text),
        *(repr(vars(model)), repr(model.connect()), repr(model.usage())),
        (tmp_path / "journal").read_text(),
    ]
    assert "wrong key: Bearer ***" in told[0]
    for secret in (SECRET, SECRET[:12], repr(SECRET)[1:-1]):
        assert not any(secret in text for text in told)


def test_no_key_is_no_header(chat_server, remote, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("MINE", "EMPTY")
    monkeypatch.delenv("NONE", raising=False)
    ask(remote(key_variable="NONE"), REQUESTS[:1])
    ask(remote(key_variable="MINE"), REQUESTS[:1])
    sent = [headers.get("Authorization") for headers in chat_server.headers]
    assert sent == [None] * 3 + ["Bearer EMPTY"] * 3


def test_a_key_in_the_place_of_its_variables_name_is_not_told():
    with pytest.raises(ValueError, match="key_variable: expected the name") as error:
        ServerConfig(key_variable=SECRET)
    assert SECRET[:5] not in str(error.value)


def test_a_key_that_is_none_is_refused_untold(remote, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "two\nlines")
    with pytest.raises(InputError) as error:
        remote()
    assert str(error.value).startswith("OPENAI_API_KEY: expected printable ASCII")
    assert "two" not in str(error.value)


def test_the_check_finds_a_server_that_cannot_serve(chat_server, remote):
    remote().check()
    assert chat_server.asked[0]["max_tokens"] == 50
    chat_server.faults = [fails(404, b"no model a/model")]
    with pytest.raises(InputError, match="got HTTP 404 'no model a/model'"):
        remote().check()
    chat_server.faults = [fails(400, b"maximum context length is 8 tokens")]
    with pytest.raises(InputError, match="beside an answer of 50 tokens, got none"):
        remote().check()


def test_an_address_names_url_and_model():
    address = parse_address("openai:https://host:8000/v1/#Qwen/QwQ-32B")
    assert address == Address("https://host:8000/v1", "Qwen/QwQ-32B")
    assert parse_address("Qwen/QwQ-32B") is None
    assert parse_address("models/openai") is None


@pytest.mark.parametrize(
    "text",
    [
        "openai:",
        "openai:gpt",
        "openai:ftp://host/v1#m",
        "openai:http://host/v1",
        "openai:http://host/v1#",
        "openai:http:///v1#m",
        "openai:http://host:port/v1#m",
        "openai:http://me:secret@host/v1#m",
        "openai:http://host/v1?key=secret#m",
        "openai:http://[host/v1#m",
        "openai:http://me:secret@[host/v1#m",
    ],
)
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="reasoner: expected") as error:
        parse_address(text)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "request_",
    [
        Request("g", "?", num_samples=0),
        Request("g", "?", images=("a.png",)),
    ],
)
def test_a_request_that_cannot_be_sent_is_refused(request_, remote):
    with pytest.raises(ValueError, match=re.escape("request 'g': expected")):
        remote()([request_])


def test_a_group_asked_for_twice_is_refused(remote):
    with pytest.raises(ValueError, match="expected each group once"):
        remote()([REQUESTS[0], REQUESTS[0]])


def first_tokens(*listed):
    """Fields of a choice: the likeliest first tokens, and one more token."""
    top = [{"token": text, "logprob": value} for text, value in listed]
    content = [{"token": "Yes", "logprob": -0.1, "top_logprobs": top}]
    return {"logprobs": {"content": [*content, {"token": ".", "logprob": -1.0}]}}


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_answer_could_have_begun_with_comes_and_is_kept(
    remote, chat_server, tmp_path, stream
):
    listed = (("Yes", -0.1), (" no", -3.0))
    chat_server.faults = [answers(text="Yes.", **first_tokens(*listed))]
    options = {"log_probs": True, "fields": {"top_logprobs": 20}, "stream": stream}
    journal = tmp_path / "journal.jsonl"
    [answer] = ask(remote(journal, **options), [Request("g", "q")])
    assert answer.first_token == listed
    assert chat_server.asked[0]["top_logprobs"] == 20
    [known] = ask(remote(journal, **options), [Request("g", "q")])
    assert known.first_token == listed
    assert len(chat_server.asked) == 1


@pytest.mark.parametrize(
    "strange",
    [[("Yes", 0.5)], [("Yes", -0.1), (3, -2.0)], [("Yes", None)], [("no", True)], []],
)
def test_a_list_with_anything_strange_in_it_is_none(remote, chat_server, strange):
    chat_server.faults = [answers(text="Yes.", **first_tokens(*strange))]
    [answer] = ask(remote(), [Request("g", "q")])
    assert answer.first_token is None
    assert answer.policy_log_probs.tolist() == pytest.approx([-0.1, -1.0])
