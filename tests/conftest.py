"""What every test runs under: CPU unless told otherwise, and no silent broadcasting."""

import importlib.util
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

# Each worker has a cache: what two write at once could be read half-written.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "alone")
COMPILING = {
    "jax_compilation_cache_dir": Path(__file__).parent.parent / ".cache/jax" / WORKER,
    # Modules, and programs that tests start, meet the same small functions again.
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}

if os.environ["JAX_PLATFORMS"] == "cpu":
    jax.config.update("jax_num_cpu_devices", 2)
    COMPILING["jax_disable_most_optimizations"] = True  # to compile takes far longer
jax.config.update("jax_numpy_rank_promotion", "raise")
for name, value in COMPILING.items():
    jax.config.update(name, str(value) if isinstance(value, Path) else value)
    os.environ[name.upper()] = str(value)


LONGEST = (  # files that take most of a minute, or more
    "sharding/test_eight_devices.py",
    "planning/test_plan.py",
    "colab/test_sophia_in_ten_minutes.py",
    "training/test_objectives.py",
    "recipes/test_more_answers.py",
    "cli/test_compare.py",
    "training/test_hosts_in_step.py",
    "tests/test_grpo.py",
    "cli/test_judges.py",
    "generation/test_decode.py",
    "cli/test_data_forms.py",
    "cli/test_own_data.py",
    "training/test_step.py",
)


def pytest_collection_modifyitems(items):
    """The longest files first, so that no worker ends long after the other."""
    items.sort(key=lambda item: not item.path.as_posix().endswith(LONGEST))


@pytest.fixture(scope="session")
def key():
    """A random key."""
    return jax.random.key(0)


@pytest.fixture
def buckets(tmp_path, monkeypatch):
    """A stand-in for what `gs://` leads to; there is one bucket, `gs://bucket`."""
    from etils.epath import backend
    from fsspec.registry import _registry
    from orbax.checkpoint._src.path import gcs_utils

    path = Path(__file__).with_name("buckets.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.Buckets.root = tmp_path / "buckets"
    (module.Buckets.root / "bucket").mkdir(parents=True)
    for name in ("gs", "gcs"):
        monkeypatch.setitem(_registry, name, module.Buckets)
    monkeypatch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda _: False)

    def on_disk(path):  # for the arrays of a checkpoint, which tensorstore writes
        place = module.Buckets.root / str(path).removeprefix("gs://")
        is_file = place.name.startswith("_")  # of shardings; the others are folders
        return {"driver": "file", "path": f"{place}{'' if is_file else '/'}"}

    monkeypatch.setattr(gcs_utils, "get_kvstore_for_gcs", on_disk)
    backend.fsspec_backend._get_filesystem.cache_clear()
    module.Buckets.Killed = module.Killed
    yield module.Buckets
    backend.fsspec_backend._get_filesystem.cache_clear()


@pytest.fixture(scope="session")
def tiny_tokenizer():
    from sophia_jax.models.tokenizer import train_tokenizer

    return train_tokenizer(["Read the picture: 12 + 34 = 46, 7 - 5 = 2."] * 3, 280)


@pytest.fixture(scope="session")
def text_model(tiny_tokenizer):
    """A decoder of two layers that ends an answer after about seven tokens."""
    return make_tiny_model(tiny_tokenizer, with_vision=False)


@pytest.fixture(scope="session")
def vision_model(tiny_tokenizer):
    """A vision-language model with that decoder, and tiles of four image tokens."""
    return make_tiny_model(tiny_tokenizer, with_vision=True)


@pytest.fixture(scope="session")
def shared():
    """A folder of published files that are too large for the repository."""
    folder = os.environ.get("SOPHIA_SHARED")
    if folder is None:
        pytest.skip("SOPHIA_SHARED names no folder of published tokenizers")
    return Path(folder)


@pytest.fixture(scope="session")
def small_internlm2(tmp_path_factory):
    """A folder as InternLM2's, whose sentencepiece model is learnt from few texts."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("internlm2")
    texts = [
        "The picture shows 12 plus 34 is 46.\n\n  A list:\t- one\n  - two",
        "user\nsystem\nassistant\n你好，世界。图片里有三个苹果",
        "print(1.5 == 3 / 2)  # naïve",
        "   aaaaaaa   ========   ",
    ]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=420,
        hard_vocab_limit=False,
        byte_fallback=True,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["Ｅ", "１", "[UNUSED_TOKEN_1]", "[UNUSED_TOKEN_2]"],
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(folder / "tokenizer.model")
    )
    size = model.get_piece_size()
    special = {0: "<unk>", 1: "<s>", 2: "</s>"} | {
        model.piece_to_id("[UNUSED_TOKEN_1]"): "<|im_end|>",
        model.piece_to_id("[UNUSED_TOKEN_2]"): "<|im_start|>",
        size: "<img>",
        size + 1: "</img>",
        size + 2: "<IMG_CONTEXT>",
    }
    config = {
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", 0]},
        "added_tokens_decoder": {
            str(id_): {"content": content, "special": True}
            for id_, content in special.items()
        },
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "unk_token": "<unk>",
        "chat_template": (
            "{{ bos_token }}{% for message in messages %}"
            "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] }}"
            "{{ '<|im_end|>' + '\n' }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
        ),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def make_tiny_model(tokenizer, *, with_vision):
    from sophia_jax.config import ModelConfig, TextConfig, VisionConfig
    from sophia_jax.models.internvl import init_params, model_graph
    from sophia_jax.models.model import Model
    from sophia_jax.tiles import TileGeometry

    text = TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        mlp_size=48,
        max_length=256,
    )
    config, tiles = ModelConfig(text=text), None
    if with_vision:
        vision = VisionConfig(32, 2, 4, 48, image_size=28, patch_size=7)
        placeholder = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
        config = ModelConfig(text=text, vision=vision, image_token_id=placeholder)
        tiles = TileGeometry(28, max_tiles=4, mean=(0.5,) * 3, std=(0.3,) * 3)
    params = jax.jit(init_params, static_argnums=1)(jax.random.key(1), config)
    # An embedding that is the same for all tokens serves the head as a bias.
    decoder = params["decoder"]
    embedding, head = decoder["embedding"]["embedding"], decoder["lm_head"]["kernel"]
    decoder["embedding"]["embedding"] = embedding.at[:, 0].set(4.0)
    end_bias = jax.nn.one_hot(tokenizer.eos_token_id, len(tokenizer)) * 1.3
    decoder["lm_head"]["kernel"] = head.at[0].set(end_bias)
    return Model(config, model_graph(config), params, tokenizer, tiles)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Each module leaves no compiled programs: the memory maps of all would not fit."""
    yield
    jax.clear_caches()


class ChatServer(ThreadingHTTPServer):
    """An OpenAI-compatible server on loopback.

    Attributes:
      say: body of a request -> text of its answer.
      faults: of the next requests, each a function of the handler and the body that
        replies in the answer's stead; None for an answer.
      asked: bodies in the order of arrival; `headers` beside them.
      ended: set when the test is over; what stalls waits for it.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), ChatHandler)
        self.say = lambda body: f"about {body['messages'][-1]['content']}"
        self.faults, self.asked, self.headers = [], [], []
        self.ended, self.lock = threading.Event(), threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request, client_address):
        """A client that has hung up is no fault of a test."""


class ChatHandler(BaseHTTPRequestHandler):
    """Answers one request after the other of a connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fault = self.server.faults.pop(0) if self.server.faults else None
            self.server.asked.append(body)
            self.server.headers.append(dict(self.headers))
        if self.path != "/v1/chat/completions":
            self.send(b"no such path", status=404)
        elif fault is not None:
            fault(self, body)
        else:
            self.answer(body)

    def answer(self, body, *, text=None, usage=True, message=None, **choice):
        """The usual reply; fields of the choice and of its message may be others."""
        text = self.server.say(body) if text is None else text
        message = {"role": "assistant", "content": text} | (message or {})
        choice = {"index": 0, "finish_reason": "stop", **choice}
        tokens = {"prompt_tokens": 10, "completion_tokens": len(text.split())}
        tokens["prompt_tokens_details"] = {"cached_tokens": 4}
        usage = tokens if usage else None
        if not body.get("stream"):
            choices = [choice | {"message": message}]
            self.send(json.dumps({"choices": choices, "usage": usage}).encode())
            return
        reason = choice.pop("finish_reason")
        pieces = [{name: value} for name, value in message.items()]
        events = [{"choices": [choice | {"delta": piece}]} for piece in pieces]
        events.append({"choices": [choice | {"delta": {}, "finish_reason": reason}]})
        events.append({"choices": [], "usage": usage})
        lines = [f"data: {json.dumps(event)}\n\n" for event in events]
        lines = [": still there\n\n", *lines, "data: [DONE]\n\n"]
        self.send("".join(lines).encode(), kind="text/event-stream")

    def send(
        self, content, *, status=200, kind="application/json", length=None, **more
    ):
        """Any reply at all; a wrong length breaks it off."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length or len(content)))
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        if length is not None:
            self.close_connection = True

    def log_message(self, *arguments):
        """Nothing on standard error."""


@pytest.fixture
def chat_server(monkeypatch):
    """A server, and a client that does not wait long between tries."""
    from sophia_jax.generation import server as client

    monkeypatch.setattr(client, "FIRST_WAIT_SECONDS", 0.02)
    with ChatServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()
