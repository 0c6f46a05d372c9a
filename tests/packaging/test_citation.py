"""CITATION.cff names the project and the papers whose equations stand in the code."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
REQUIRED = {"cff-version", "message", "title", "authors"}


def test_the_required_fields_are_there_and_the_version_is_said_elsewhere():
    assert CITATION.keys() >= REQUIRED
    assert "version" not in CITATION
    assert [author["name"] for author in CITATION["authors"]] == [
        "The sophia_jax project"
    ]


def test_every_paper_is_one_that_the_code_follows():
    source = "\n".join(p.read_text() for p in (ROOT / "sophia_jax").rglob("*.py"))
    for paper in CITATION["references"]:
        (number,) = re.findall(r"arxiv\.org/abs/(\d{4}\.\d{5})$", paper["url"])
        assert paper["identifiers"][0]["value"] == f"arXiv:{number}"
        assert f"https://arxiv.org/abs/{number}" in source
        assert paper["title"] and paper["authors"]
