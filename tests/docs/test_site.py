"""The site builds without warnings or a network, and loads nothing from others."""

import ast
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sophia_jax.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src"}
OUTSIDE = re.compile(r"(?:https?:)?//")
PACKAGES = ("losses", "rewards", "inference_scaling", "average_reward", "sharding")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    nowhere = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ
        | nowhere
        | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Loads(HTMLParser):
    """What a page makes a browser fetch from elsewhere."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        target = given.get(LOADING.get(tag, ""))
        if tag == "link" and given.get("rel") != "canonical":
            target = given.get("href")
        if target and OUTSIDE.match(target):
            self.found.append(target)


def test_no_page_loads_anything_from_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text())
        assert loads.found == [], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import\s)[\"']?https?:", style.read_text())


def test_the_search_for_outside_loads_finds_them():
    loads = Loads()
    loads.feed(
        '<link rel="stylesheet" href="//a/b.css"><script src="https://a"></script>'
    )
    assert loads.found == ["//a/b.css", "https://a"]


def exported(package):
    """The names of a package's `__all__`, or the keys of the dict that it lists."""
    tree = ast.parse((ROOT / "sophia_jax" / package / "__init__.py").read_text())
    for node in tree.body:
        is_names = isinstance(node, ast.Assign) and isinstance(
            node.value, ast.List | ast.Dict
        )
        if is_names:
            yield from (
                ast.literal_eval(each)
                for each in getattr(node.value, "elts", None) or node.value.keys
            )


@pytest.mark.parametrize("package", ["", *PACKAGES, "inference_scaling/theory"])
def test_the_reference_has_every_public_name(site, package):
    stem = {"": "top-level"}.get(package, package.partition("/")[0].replace("_", "-"))
    page = (site / "reference" / f"{stem}.html").read_text()
    names = set(exported(package))
    assert names
    missing = [name for name in names if not re.search(rf'id="[\w.]*\b{name}"', page)]
    assert missing == []


def test_the_page_of_commands_has_every_option(site, capsys):
    from sophia_jax.cli.main import main

    page = (site / "reference" / "commands.html").read_text()
    for name in COMMANDS:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
        assert f'id="{name}"' in page
        assert [each for each in options if each not in page] == []
