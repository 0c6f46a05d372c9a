"""The benchmark of pages opens them with the browser that it is given."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_page.py"


def test_the_browser_that_is_named_comes_first(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    on_path = tmp_path / "chromium"
    on_path.write_text("")
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SOPHIA_CHROMIUM", raising=False)
    assert script.find_chromium() == str(on_path)
    monkeypatch.setenv("SOPHIA_CHROMIUM", "/somewhere/else")
    assert script.find_chromium() == "/somewhere/else"
