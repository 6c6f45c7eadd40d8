"""The generated pages and blocks of docs/."""

import re

import pytest

from charnn.config import PrepareConfig, SampleConfig, TrainConfig
from docs.generate import __main__ as generate
from docs.generate import code_layout, exit_codes, markdown, python_api, settings


def test_a_block_is_replaced_and_the_rest_of_the_page_kept(monkeypatch) -> None:
    """Also twice, and with backslashes; a page without the block stays as it is."""
    monkeypatch.setattr(generate, "BLOCKS", {"figures": lambda: r"| \| |"})
    page = "before\n<!-- figures -->\nold\n<!-- end figures -->\nafter\n"

    replaced = generate.replace_blocks(page)

    assert replaced == page.replace("old", r"| \| |")
    assert generate.replace_blocks(replaced) == replaced
    assert generate.replace_blocks("text\n") == "text\n"


def test_check_names_an_outdated_page_and_writes_nothing(tmp_path, monkeypatch, capsys) -> None:
    """Exit code 1 until `make docs` has written it."""
    path = tmp_path / "page.md"
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "generated", lambda: [(path, "text\n")])

    monkeypatch.setattr("sys.argv", ["generate", "--check"])
    assert generate.main() == 1
    assert "page.md is out of date" in capsys.readouterr().err
    assert not path.exists()

    monkeypatch.setattr("sys.argv", ["generate"])
    assert generate.main() == 0
    monkeypatch.setattr("sys.argv", ["generate", "--check"])
    assert generate.main() == 0


def test_table_cells_are_safe() -> None:
    """A pipe does not end a cell, and `<` outside of code does not begin a tag."""
    cell = markdown.first_paragraph("a <b> | `<c>`\n`<d|e>`\n\nmore")

    assert cell == "a &lt;b> &#124; `<c>` <code>&lt;d&#124;e></code>"


@pytest.mark.parametrize("kind", [TrainConfig, PrepareConfig, SampleConfig])
def test_every_setting_is_on_the_page(kind) -> None:
    """With the option that sets it."""
    page = settings.page()

    for name in kind.model_fields:
        assert re.search(rf"^\| `{name}` \| (`--|argument)", page, re.M), name


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "[0, 1)"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1e6}, "(0, 10<sup>6</sup>]"),
        ({"type": "integer", "minimum": 1}, "[1, ∞)"),
        ({"type": "integer", "minimum": -1, "maximum": 2**31 - 1}, "[-1, 2<sup>31</sup> − 1]"),
        ({"type": "string", "enum": ["a", "b"]}, "`a`, `b`"),
        ({"type": "boolean"}, "`true`, `false`"),
        ({"type": "string"}, ""),
    ],
)
def test_values_of_a_setting(schema, expected) -> None:
    """Ranges in interval notation, large bounds as powers."""
    assert settings.values(schema) == expected


def test_exit_codes_of_the_contract() -> None:
    """Every code, once, in order."""
    codes = re.findall(r"^\| (\d+) \|", exit_codes.page(), re.M)

    assert codes == ["0", "1", "2", "3", "65", "74", "75", "130", "141", "143"]


def test_signature_of_a_long_function_has_a_line_per_parameter() -> None:
    """Without `self`, and with the defaults as in the code."""
    page = python_api.page()

    assert "charnn.load(path: str | Path | None = None) -> Model" in page
    assert 'generate(\n    prompt: str = "",\n    *,\n    temperature: float = 0.8,\n' in page
    assert ">>>" not in page


def test_every_module_is_in_the_code_layout() -> None:
    """Packages have a line in README.md, modules a row on the page."""
    page = code_layout.page()

    for path in code_layout.PACKAGE.rglob("*.py"):
        assert path.name.startswith("__") or f"| `{path.name}` |" in page
    assert code_layout.packages().count("\n- ") == len(code_layout.PACKAGES) - 1
