"""The checks of tools/lint.py that ruff has no word for, on cells with and without a fault; and counts only fall."""
import json

import pytest

from tools import lint


def kinds(cell): return [f.kind for f in lint.in_cell(cell, "here")]


@pytest.mark.parametrize("cell, found", [
    ("f(), g()\nh()", ["tuple-statement"]),
    ("f(), g()", []),                                  # what the cell shows
    ("f(), g();", ["tuple-statement"]),                # and doesn't
    ("def f():\n    g(), h()", ["tuple-statement"]),
    ("a, b\nc", []),                                   # nothing is called
    ("a, (b, *c), d = e", ["four-targets"]),
    ("a = b = c = d = 0", ["four-targets"]),
    ("a, (b, *c) = d", []),
    ("x[0], y.z, (w) = f()", []),
    ("%matplotlib inline\n!ls\na = 1", []),
])
def test_statements(cell, found): assert kinds(cell) == found


def test_long_cells():
    "Thirty lines, and as many marks of nbdev and Quarto as one likes."
    fine = "#| export\n#| label: fig-x\n" + "a = 1\n" * 30
    assert kinds(fine) == [] and kinds(fine + "a = 1\n") == ["long-cell"]


def test_what_a_notebook_is_spared(tmp_path):
    "A directive may be long, and a cell that isn't run may name what it doesn't import; no other line and cell may."
    long, notebook = "x" * 130, tmp_path / "page.ipynb"
    cells = ["text", f"#| fig-cap: {long}\n# {long}", f"#| eval: false\n{long}", f"{long} #| eval: false"]
    kinds = ["markdown"] + ["code"] * 3
    notebook.write_text(json.dumps({"cells": [{"cell_type": kind, "source": cell.splitlines(keepends=True)}
                                              for kind, cell in zip(kinds, cells)]}))

    def spared(code, cell, row):
        return lint.spared({"filename": str(notebook), "code": code, "cell": cell, "location": {"row": row}})
    assert spared("E501", 2, 1) and not spared("E501", 2, 2) and not spared("E501", 3, 2)
    assert spared("F821", 3, 2) and not spared("F821", 4, 1) and not spared("F401", 3, 2)
    assert not spared("E501", None, 1)  # a file of Python


@pytest.fixture
def counts(tmp_path, monkeypatch):
    monkeypatch.setattr(lint, "KNOWN", tmp_path / "findings.json")
    lint.KNOWN.write_text('{"E501": 2, "types": 5}')
    return lambda: json.loads(lint.KNOWN.read_text())


def judged(n, write=False): return lint.judged([lint.Finding("a.py:1", "E501", "too long")] * n, {"E501"}, write)


def test_counts_may_only_fall(counts, capsys):
    assert judged(3, write=True) == 1 and "3 findings, and at most 2" in capsys.readouterr().out
    assert counts() == {"E501": 2, "types": 5}
    assert judged(1) == 0 and counts()["E501"] == 2
    assert judged(1, write=True) == 0 and counts() == {"E501": 1, "types": 5}
    assert judged(0, write=True) == 0 and counts() == {"types": 5}


def test_a_kind_that_was_never_found_is_an_error(counts):
    assert lint.judged([lint.Finding("a.py:1", "F401", "unused")], {"E501"}, False) == 1
