"""The page holds what the run holds, says what it lacks, and lets no text act."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import sophia_jax.viz
from sophia_jax.types import InputError
from sophia_jax.viz.report import write_report


class Page(HTMLParser):
    """The elements of a page with their attributes, its text, and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.scripts = [], "", []
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data):
        if self.cdata_elem == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        self.text += data

    def block(self, name):
        """What a block of JSON holds."""
        [text] = [text for a, text in self.scripts if a.get("id") == name]
        return json.loads(text)


@pytest.fixture
def page(whole_run):
    return Page(whole_run.joinpath("report.html").read_text("utf-8"))


# --- what means harm ---


def test_no_text_of_the_run_becomes_an_element(page):
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"iframe", "object", "link", "base", "img"}
    assert "<script>alert(1)</script>" in page.text
    caption = page.block("questions-0")[0]["branches"][0]["text"]
    assert caption.startswith("caption 0 <script>alert(1)</script>")
    assert all(
        not name.startswith("on")
        for _, attributes in page.elements
        for name in attributes
    )


def test_one_script_may_run_and_it_is_our_own(page):
    *blocks, own = sorted(page.scripts, key=lambda each: "type" not in each[0])
    assert {a["type"] for a, _ in blocks} == {"application/json"}
    assert not any(sign in text for _, text in blocks for sign in "<>&")
    attributes, text = own
    assert attributes == {} and "</" not in text and "<!--" not in text
    assert "innerHTML" not in text and "eval" not in text
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    [policy] = [a["content"] for _, a in page.elements if "http-equiv" in a]
    assert f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:" in policy


def test_no_control_character_gets_into_the_page(whole_run):
    text = whole_run.joinpath("report.html").read_text("utf-8")
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text
    )
    assert "␀␛[31m" in text


def test_a_megabyte_of_text_is_cut_and_the_page_says_by_how_much(whole_run, page):
    # "base says " and the hostile prefix stand before the 1,000,000 characters.
    assert whole_run.joinpath("report.html").stat().st_size < 400_000
    cuts = re.findall(r"… \[([\d,]+) more characters not shown\]", page.text)
    prefix = len("base says ") + len("<script>alert(1)</script>\x00\x1b[31m\u202e\"'>&")
    assert f"{1_000_000 + prefix - 4_000:,}" in cuts


def test_nothing_is_loaded_from_elsewhere(page):
    sources = [
        attributes[name]
        for tag, attributes in page.elements
        for name in ("src", "href", "xlink:href")
        if name in attributes and tag != "a"
    ]
    pictures = [uri for uri, *_ in page.block("pictures-0")]
    assert pictures
    assert all(source.startswith(("data:image/", "#")) for source in sources + pictures)


# --- what is there ---


def test_each_part_of_the_run_is_shown(page):
    for words in (
        "from 5.0 % to 60.0 %",
        "For 1 of 2 questions",
        "12 reasonings",
        "2 min 30 s in all",
        "What guessing would give",
    ):
        assert words in page.text, words
    kept, dropped, held_out = page.block("questions-0")
    assert kept["words"] == "reasoning 2 under caption 1, 9 tokens to learn"
    assert "3+4=7 so \\boxed{7}" in kept["texts"]
    assert dropped["words"] == "nothing was kept"
    assert held_out["words"] == "Base model: wrong; After SOPHIA: right"
    assert [text.split()[0] for text in held_out["texts"]] == ["base", "sophia"]
    words = page.block("index")["words"]
    assert {"kept", "no right answer", "now right"} <= set(words)
    # 0.6 / 0.8 and 0.05 / 0.8
    assert "75.0 %" in page.text
    assert "6.2 %" in page.text
    assert not [a for _, a in page.elements if "absent" in (a.get("class") or "")]


def test_outcomes_and_rewards_of_a_caption_stand_together(page):
    # The second caption of q1: wrong, right, cut off; 1/3 does not pass 0.75.
    question = page.block("questions-0")[0]
    caption, notes = question["branches"][1], question["notes"]
    assert [notes[mark] for mark, *_ in caption["leaves"]] == [
        *("wrong", "right"),
        "cut off",
    ]
    assert caption["reward"] == [0.3333, 0.3333]
    assert notes[caption["note"]] == "not above 0.75"


def test_every_figure_is_described(page):
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert all("aria-label" in a or "aria-hidden" in a for a in drawings)
    # Accuracy, rewards, lengths, and two curves for each of three phases.
    assert sum("aria-label" in attributes for attributes in drawings) == 9


def test_ids_are_unique_and_references_to_them_hold(whole_run, page):
    text = html.unescape(whole_run.joinpath("report.html").read_text("utf-8"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', text)) <= set(ids)


def test_intervals_that_overlap_are_said_to(run_folder):
    summary = json.loads((run_folder / "summary.json").read_text())
    summary["held_out"]["sophia"]["pass@1"] = 0.1
    (run_folder / "summary.json").write_text(json.dumps(summary))
    # 2 of 40 and 4 of 40: about (0.01, 0.17) and (0.04, 0.23).
    assert "intervals overlap" in Page(write_report(run_folder).read_text()).text


def test_a_share_that_fell_is_said_to_have_fallen(run_folder):
    summary = json.loads((run_folder / "summary.json").read_text())
    summary["held_out"]["sophia"]["pass@1"] = 0.0
    (run_folder / "summary.json").write_text(json.dumps(summary))
    assert "fell from 5.0" in Page(write_report(run_folder).read_text()).text


def test_the_same_run_gives_the_same_bytes(run_folder):
    first = write_report(run_folder).read_bytes()
    other = run_folder.parent / "elsewhere" / "run"
    shutil.copytree(run_folder, other, ignore=shutil.ignore_patterns("report.html"))
    assert write_report(other).read_bytes() == first
    assert write_report(run_folder).read_bytes() == first
    assert not list(run_folder.glob(".report*"))


# --- what is not ---

SAID = {
    "summary.json": "No held-out scores yet",
    "rollouts": "No rollouts yet",
    "rollouts/reasonings": "not counted yet",
}


@pytest.mark.parametrize("missing", SAID)
def test_what_is_missing_is_said(run_folder, missing):
    path = run_folder / missing
    path.unlink() if path.is_file() else shutil.rmtree(path)
    assert SAID[missing] in Page(write_report(run_folder).read_text()).text


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        ("data/train", ["", "", "held-out"]),
        ("evaluations", ["What", "And"]),
        ("evaluations/base", ["What", "And", "held-out"]),
        ("rollouts/captions", ["What", "And", "held-out"]),
        ("rollouts/selection", ["held-out"]),
    ],
)
def test_questions_are_shown_as_far_as_they_are_there(run_folder, missing, left):
    shutil.rmtree(run_folder / missing)
    found = Page(write_report(run_folder).read_text()).block("questions-0")
    assert [each["question"].partition(" ")[0] for each in found] == left
    if missing == "rollouts/captions":
        assert found[0]["branches"] == []
    if missing == "evaluations/base":
        assert found[2]["words"] == "right"


def test_a_picture_that_is_not_there_is_missed(run_folder):
    shutil.rmtree(run_folder / "data" / "held_out")
    page = Page(write_report(run_folder).read_text())
    assert [each["pictures"] for each in page.block("questions-0")] == [1, 1, 1]
    shown = [len(row["pictures"]) for row in page.block("index")["rows"]]
    assert shown == [1, 1, 0]


def test_an_empty_run_folder_says_so_everywhere(tmp_path):
    text = Page(write_report(tmp_path).read_text()).text
    for words in (
        "This run has not come to that",
        "No held-out scores",
        "No rollouts",
        "No question can be shown",
        "No training curves",
        "No times",
        "Settings: not",
    ):
        assert words in text


def test_questions_are_found_where_the_configuration_says(run_folder):
    shutil.move(run_folder / "data" / "train", run_folder.parent / "mine")
    config = {"data": str(run_folder.parent / "mine" / "items.jsonl")}
    (run_folder / "config.json").write_text(json.dumps(config))
    assert "And what is this?" in Page(write_report(run_folder).read_text()).text


def test_a_table_that_lacks_shards_is_said_to(run_folder):
    folder = run_folder / "rollouts" / "captions"
    folder.joinpath("00000-of-00001.parquet").rename(folder / "00000-of-00003.parquet")
    text = Page(write_report(run_folder).read_text()).text
    assert "captions has 1 of 3 files" in text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("summary.json", b"{", r"summary\.json: expected a JSON file"),
        ("summary.json", b"\xff", r"summary\.json: expected a JSON file"),
        ("summary.json", b"[]", r"summary\.json: expected an object, got \[\]"),
        ("config.json", b"{]", r"config\.json: expected a JSON file"),
        (
            "training/base/metrics.jsonl",
            b"{}\n",
            r"metrics\.jsonl: expected one JSON object",
        ),
        (
            "training/base/metrics.jsonl",
            b"3\n",
            r"metrics\.jsonl: expected one JSON object",
        ),
        (
            "evaluations/base/predictions.parquet",
            b"PAR1",
            r"predictions\.parquet: expected a Parquet file",
        ),
        (
            "rollouts/selection/00000-of-00001.parquet",
            b"",
            r"00000-of-00001\.parquet: expected",
        ),
    ],
)
def test_a_damaged_file_is_named_and_the_old_page_stays(
    run_folder, name, content, message
):
    (run_folder / "report.html").write_text("old")
    (run_folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        write_report(run_folder)
    assert (run_folder / "report.html").read_text() == "old"


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "sophia_jax.viz.curves", raising=False)
    monkeypatch.delattr(sophia_jax.viz, "curves", raising=False)
    message = r"got no matplotlib; pip install sophia-jax\[viz\]"
    with pytest.raises(InputError, match=message):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_module_loads_without_the_extra():
    code = (
        "import sys, sophia_jax.viz.report; "
        "sys.exit('matplotlib' in sys.modules or 'jinja2' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
