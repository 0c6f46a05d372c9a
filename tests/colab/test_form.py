"""Notebooks are kept without outputs, and can be opened where they say."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
METADATA = {"kernelspec", "language_info", "accelerator", "colab"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


def test_there_are_five():
    assert len(NOTEBOOKS) == 5


def test_a_notebook_is_valid_and_was_not_run(path):
    nbformat = pytest.importorskip("nbformat")
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        assert cell["metadata"] in ({}, {"tags": ["parameters"]})
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_nothing_tells_of_the_machine_it_was_written_on(path):
    metadata = read(path)["metadata"]
    assert metadata.keys() <= METADATA
    assert metadata["kernelspec"] == KERNEL
    assert metadata["language_info"] == {"name": "python"}


def test_cells_have_names_that_stay(path):
    names = [cell["id"] for cell in read(path)["cells"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)
    assert names[:3] == ["title", "install", "parameters"]


def test_the_badge_opens_this_notebook(path):
    title = "".join(read(path)["cells"][0]["source"])
    opened = re.findall(r"\]\((https://colab\.research[^)]*)\)\n", title)
    blob = f"{REPOSITORY}/blob/main/colab/{path.name}"
    assert opened == [f"https://colab.research.google.com/github/{blob}"]


def test_every_link_to_the_repository_leads_to_a_file(path):
    text = path.read_text()
    pattern = r"github\.com/([\w-]+/[\w-]+)/blob/main/([\w/.-]+)"
    for repository, file in re.findall(pattern, text):
        assert repository == REPOSITORY
        assert (ROOT / file).is_file()
    for file in re.findall(r"\]\((\w+\.(?:ipynb|md))\)", text):
        assert (ROOT / "colab" / file).is_file()


def test_all_install_the_same_way():
    installs = {"".join(read(path)["cells"][1]["source"]) for path in NOTEBOOKS}
    (install,) = installs
    extras = PROJECT["optional-dependencies"].keys()
    assert f"git+https://github.com/{REPOSITORY}" in install
    for named in re.findall(r'"((?:\w+,)*\w+)" if|else "([\w,]+)"', install):
        assert set("".join(named).split(",")) <= extras


def test_the_compiler_that_plans_is_the_one_of_the_extra():
    (libtpu,) = PROJECT["optional-dependencies"]["plan"]
    notebook = (ROOT / "colab" / "internvl_on_a_tpu.ipynb").read_text()
    assert f'%pip install --quiet \\"{libtpu}\\"' in notebook


def test_the_table_names_every_notebook(path):
    table = (ROOT / "colab" / "README.md").read_text()
    assert f"({path.name})" in table


def test_a_parameter_that_a_notebook_lacks_is_refused(execute):
    with pytest.raises(ValueError, match=r"ones of the notebook, got \['steps'\]"):
        execute("loop_on_river_swim", {"steps": 10})
