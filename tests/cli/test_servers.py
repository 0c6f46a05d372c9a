"""The loop with reasoners on servers, which the console knows by address alone."""

import json

import pyarrow.parquet as pq
import pytest

from sophia_jax.cli.servers import RoutingOptions, ServerOptions
from sophia_jax.rollouts.store import open_table

SECRET = "sk-1234567890-never-told"


def read_json(path):
    return json.loads(path.read_text())


@pytest.fixture
def served(collecting, chat_server):
    """The options of a small collection, its reasoner on a server."""
    options = list(map(str, collecting))
    place = options.index("--reasoner") + 1
    options[place] = f"openai:{chat_server.url}#a/model"
    return options


def rows(run, table):
    return open_table(run / "rollouts" / table).read_all()


def everything(folder):
    """All that a run has written down, in bytes."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_reasoner_on_a_server_gives_the_same_tables_and_its_cost(
    cli, served, chat_server, lenient, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    chat_server.say = lambda body: "so it is 3"
    run = tmp_path / "run"
    options = ("--server-prices", 1, 0.5, 2, "--server-stream", "--sample-all")
    code, printed, errors = cli("collect", *served, *options, "--out", run)
    assert (code, errors) == (0, [])
    summary = read_json(run / "summary.json")
    assert summary["rollouts"]["reasonings"] == summary["rollouts"]["right"] == 48
    # A text alone has no tokens but those of the policy, in which what is kept counts.
    assert summary["rollouts"]["reasoning_tokens"] is None
    assert summary["rollouts"]["mean_right_tokens"] is None
    assert summary["rollouts"]["mean_kept_tokens"] > 3
    usage = summary["servers"]["reasoner"]
    assert (usage["answers"], usage["retries"]) == (48, {})
    assert usage["url"] == chat_server.url
    assert usage["cost"] > 0
    reasonings = rows(run, "reasonings")
    assert {row["behavior_log_probs"] for row in reasonings} == {None}
    assert {row["text"] for row in reasonings} == {"so it is 3"}
    assert (run / "report.html").is_file()
    assert {each["Authorization"] for each in chat_server.headers} == {
        f"Bearer {SECRET}"
    }
    assert SECRET.encode() not in everything(run)
    assert SECRET not in "\n".join(printed)


def test_a_failing_server_ends_in_one_line_and_is_resumed_without_asking_twice(
    cli, served, chat_server, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    run = tmp_path / "run"

    def broken(handler, body):
        handler.send(f"no more of {SECRET}".encode(), status=500)

    chat_server.faults = [None] * 11 + [broken] * 2
    options = ("--server-concurrency", 1, "--server-retries", 1, "--out", run)
    code, _, errors = cli("collect", *served, *options)
    assert code == 1
    assert len(errors) == 1
    url = f"{chat_server.url}/chat/completions"
    assert f"ServerError: {url}: expected an answer, got HTTP 500 'no" in errors[0]
    assert "at try 2; --resume goes on" in errors[0]
    assert "error.log" in errors[0]
    assert SECRET.encode() not in everything(run) + errors[0].encode()
    first = len(chat_server.asked)
    assert first == 1 + 10 + 2
    # The server may be found elsewhere, and be asked otherwise.
    options = ("--server-concurrency", 8, "--server-stream", "--out", run)
    assert cli("collect", *served, *options, "--resume")[0] == 0
    usage = read_json(run / "summary.json")["servers"]["reasoner"]
    stopped = read_json(run / "summary.json")["rollouts"]["stopped"]
    assert usage["answers"] == 48 - stopped
    assert usage["retries"] == {"HTTP 500": 2}
    # One more greeting, and no completion twice.
    assert (
        len(chat_server.asked) <= first + 1 + usage["answers"] - 10 + usage["dropped"]
    )
    seeds = [body["seed"] for body in chat_server.asked[1:11]]
    assert not set(seeds) & {body["seed"] for body in chat_server.asked[first + 1 :]}
    before = len(chat_server.asked)
    assert cli("collect", *served, "--out", run, "--resume")[0] == 0
    assert len(chat_server.asked) == before


def test_wrong_answers_stop_a_caption_early(cli, served, chat_server, tmp_path):
    options = ("--server-concurrency", 1, "--threshold", 0.75, "--out")
    assert cli("collect", *served, *options, tmp_path / "run")[0] == 0
    summary = read_json(tmp_path / "run" / "summary.json")
    # Above 3/4 of four are four: the first wrong one ends a caption.
    assert summary["rollouts"]["stopped"] > 0
    answers = summary["servers"]["reasoner"]["answers"]
    assert answers + summary["rollouts"]["stopped"] == 48


def test_hard_questions_go_to_the_hard_reasoner(
    cli, served, collecting, chat_server, tmp_path, monkeypatch
):
    from sophia_jax.recipes import own_data
    from sophia_jax.rewards import Verdict

    class Verifier:
        """Takes answers for right by chance, the same chance each time."""

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def verify(self, pairs):
            return [
                Verdict.RIGHT if int(answer) % 2 else Verdict.WRONG
                for _, answer in pairs
            ]

    monkeypatch.setattr(own_data, "AnswerVerifier", Verifier)
    chat_server.say = lambda body: "so it is 3"
    run = tmp_path / "run"
    hard = served[served.index("--reasoner") + 1].replace("a/model", "hard/model")
    options = ("--hard-reasoner", hard, "--route-samples", 2, "--easy-above", 0.4)
    code, _, errors = cli("collect", *collecting, *options, "--out", run)
    assert (code, errors) == (0, [])
    routes = {row["question_id"]: row["route"] for row in rows(run, "routes")}
    summary = read_json(run / "summary.json")
    assert summary["routes"]["easy"] + summary["routes"]["hard"] == 6
    assert {route for name, route in routes.items() if int(name[1]) % 2 == 0} == {
        "hard"
    }
    assert "easy" in routes.values()
    for row in rows(run, "reasonings"):
        from_server = row["text"] == "so it is 3"
        assert from_server == (routes[row["question_id"]] == "hard")
    assert set(summary["servers"]) == {"hard"}
    assert {body["model"] for body in chat_server.asked} == {"hard/model"}
    # The routes are kept: whoever goes on asks nobody how hard anything is.
    table = pq.read_table(next((run / "rollouts" / "routes").iterdir()))
    assert table.num_rows == 6
    code, _, errors = cli(
        "collect", *collecting, *options[:-1], 0.6, "--out", run, "--resume"
    )
    assert code == 2
    assert "routing was" in errors[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("--reasoner", "openai:nowhere"), "reasoner: expected openai:http://HOST/v1#"),
        (("--server-concurrency", 0), "concurrency: expected > 0, got 0"),
        (("--server-fields", "{"), "server_fields: expected JSON"),
        (("--server-fields", '{"n": 2}'), "fields: expected none that is fixed, got n"),
        (("--server-log-probs", "--top-p", 0.5), "log_probs: expected temperature 1"),
        (("--easy-above", 2), "easy_above: expected in [0, 1], got 2"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_made(
    changes, told, cli, served, tmp_path
):
    out = tmp_path / "out"
    code, _, errors = cli("collect", *served, *changes, "--out", out)
    assert code == 2
    assert len(errors) == 1
    assert told in errors[0]
    assert not out.exists()


def test_a_server_that_cannot_serve_is_told_before_anything_is_made(
    cli, served, chat_server, tmp_path
):
    chat_server.faults = [lambda handler, body: handler.send(b"who?", status=401)]
    out = tmp_path / "out"
    code, _, errors = cli("collect", *served, "--out", out)
    assert code == 2
    assert "got HTTP 401 'who?' (the key stands in OPENAI_API_KEY" in errors[0]
    assert not out.exists()


def test_a_caption_that_is_too_long_for_the_server_is_counted(
    cli, served, chat_server, tmp_path
):
    def too_long(handler, body):
        handler.send(b'{"error": {"code": "context_length_exceeded"}}', status=400)

    chat_server.faults = [None] + [too_long] * 4
    options = ("--server-concurrency", 1, "--sample-all", "--out", tmp_path / "run")
    assert cli("collect", *served, *options)[0] == 0
    summary = read_json(tmp_path / "run" / "summary.json")
    assert summary["rollouts"]["captions_too_long_for_reasoner"] == 1
    assert summary["servers"]["reasoner"]["too_long"] == 4
    assert summary["rollouts"]["reasonings"] == 48


def test_the_hard_server_has_the_key_and_the_prices_of_the_other_one():
    servers = ServerOptions(server_key_variable="MY_KEY", server_prices=(1.0, 0.5, 2.0))
    hard = "openai:http://127.0.0.1:9/v1#m"
    same = RoutingOptions(hard).config(servers)["hard_server"]
    assert same == servers.config()
    assert (same.key_variable, same.prices) == ("MY_KEY", (1.0, 0.5, 2.0))
    own = RoutingOptions(hard, "ITS_KEY", (3.0, 3.0, 6.0)).config(servers)
    assert own["hard_server"].key_variable == "ITS_KEY"
    assert own["hard_server"].prices == (3.0, 3.0, 6.0)
