"""The notebooks as a reader and a house style see them. That they run is nbdev_test's business."""
import ast, json, re
from pathlib import Path

import pytest

NBS = sorted(f for f in (Path(__file__).parent.parent / "nbs").rglob("[!_.]*.ipynb")
             if ".ipynb_checkpoints" not in f.parts)
EXPORT = re.compile(r"^#\|\s*exports?\b", re.M)
ASSERTS = re.compile(r"\b(test_\w+\(|assert |expect_fail|raises\()")
everywhere = pytest.mark.parametrize("path", NBS, ids=lambda p: p.stem)


def cells(path, kind="code"):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [c | {"source": "".join(c["source"])} for c in found if c["cell_type"] == kind]


@everywhere
def test_opens_with_title_and_promise(path):
    first = cells(path, "markdown")[0]["source"]
    assert re.match(r"# .+\n+> .+", first), first


@everywhere
def test_names_its_module(path):
    "Only the index and tutorials make no module."
    names = [c["id"] for c in cells(path) if re.match(r"#\|\s*default_exp\s+\w", c["source"])]
    exports = [c["id"] for c in cells(path) if EXPORT.search(c["source"])]
    assert len(names) == (0 if path.stem == "index" or path.parent.name == "tutorials" else 1)
    assert names or not exports


def shows(source):
    "Whether a cell can't have been run without an output: it prints, or ends with a bare name."
    body = ast.parse(re.sub(r"^[%!].*", "", source, flags=re.M)).body
    values = [line.value if isinstance(line, ast.Expr) else None for line in body]
    prints = any(isinstance(v, ast.Call) and getattr(v.func, "id", "") == "print" for v in values)
    return prints or bool(values) and isinstance(values[-1], ast.Name) and not source.rstrip().endswith(";")


@everywhere
def test_was_run(path):
    "nbdev_clean removes the numbers of executed cells, so the outputs have to tell."
    for c in cells(path):
        silent = re.search(r"^#\|\s*(hide\b|exports?\b|eval:\s*false)", c["source"], re.M)
        if not silent and shows(c["source"]): assert c["outputs"], c["id"]


@everywhere
def test_outputs_hold_no_error_and_no_warning(path):
    for c in cells(path):
        for o in c["outputs"]:
            assert o["output_type"] != "error" and o.get("name") != "stderr", f"{c['id']}: {o}"


@everywhere
def test_figures_are_kept(path):
    "The site runs no code, so a cell that names a figure must hold it."
    for c in cells(path):
        if re.search(r"^#\| label: fig-", c["source"], re.M):
            assert any({"image/png", "text/html"} & set(o.get("data", {})) for o in c["outputs"]), c["id"]


@everywhere
def test_exported_functions_are_short(path):
    for c in cells(path):
        if not EXPORT.search(c["source"]): continue
        for f in ast.walk(ast.parse(c["source"])):
            if isinstance(f, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert f.end_lineno - f.lineno < 30, f"{c['id']}: {f.name}"


@everywhere
def test_exported_cells_are_followed_by_assertions(path):
    sources = [c["source"] for c in cells(path)]
    exported = [s for s in sources if EXPORT.search(s) and re.search(r"^\s*(def|class) ", s, re.M)]
    asserting = [s for s in sources if not EXPORT.search(s) and ASSERTS.search(s)]
    assert 2 * len(asserting) >= len(exported), f"{len(exported)} exported cells, {len(asserting)} asserting ones"


@everywhere
def test_runs_without_the_development_tools(path):
    "Run All must work after a plain `pip install bioplaus`."
    for c in cells(path):
        assert not re.search(r"^\s*(from|import) (nbdev|fastcore|execnb|ghapi|pytest)\b", c["source"], re.M), c["id"]
