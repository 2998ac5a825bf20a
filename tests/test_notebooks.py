"""The notebooks as a reader and a house style see them. That they run is nbdev_test's business."""
import ast, json, re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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


# what only leads on or is looked up; the landing page has a figure of its own
NO_OPENING = {"index", "98_controls", "99_logs", "91_glossary", "92_bibliography"}
PAGES = [f for f in NBS if f.stem not in NO_OPENING]
DRAWN = re.compile(r"!\[([^\]]+)\]\(((?:\.\./)?images/[^)]+)\)")
RULES = [f for f in NBS if re.match(r"1\d_", f.stem) and f.parent.name == "nbs"]


def shown(cell):
    "Whether a cell holds a picture, or something to play with."
    data = [o.get("data", {}) for o in cell.get("outputs", [])]
    return any("image/png" in d or re.search("<(svg|img|canvas)", "".join(d.get("text/html", ""))) for d in data)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_opens_with_a_picture(path):
    "Among the first eight cells: one that tools/openings.py draws, or the page's own."
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][:8]
    drawn = [m for c in first if c["cell_type"] == "markdown" for m in DRAWN.findall("".join(c["source"]))]
    assert drawn or any(map(shown, first))
    for words, file in drawn: assert len(words) > 40 and (path.parent / file).stat().st_size < 80_000


def test_pictures_are_what_the_tool_draws():
    "None is missing, none is left over, and each stands on its own page."
    from tools.openings import PICTURES
    used = {f.stem for f in PAGES if any(name.endswith(f"images/{f.stem}.svg") for c in cells(f, "markdown")
                                         for _, name in DRAWN.findall(c["source"]))}
    assert set(PICTURES) == used == {f.stem for f in (ROOT / "nbs" / "images").iterdir()}


def test_a_picture_is_drawn_alike_again(tmp_path):
    from tools.openings import write
    once, again = (write("14_control", tmp_path).read_bytes() for _ in range(2))
    assert once == again and b"<dc:date>" not in once


def test_pictures_of_a_copy_lie_on_the_site():
    from tools.docs import on_the_site
    page = next(f for f in PAGES if f.stem == "80_own_rule")
    copy = on_the_site(json.loads(page.read_text(encoding="utf-8")), "https://site/")
    assert any("](https://site/images/80_own_rule.svg)" in "".join(c["source"]) for c in copy["cells"])


@pytest.mark.parametrize("path", RULES, ids=lambda p: p.stem)
def test_chapters_on_rules_work_one_update_out(path):
    "By hand, and by the package, soon after the picture."
    first = json.loads(path.read_text(encoding="utf-8"))["cells"][:8]
    assert any("".join(c["source"]).startswith("**By hand.**") for c in first)
    assert any("assert" in "".join(c["source"]) for c in first if c["cell_type"] == "code")


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
def test_a_label_names_one_picture(path):
    "Quarto takes several displayed outputs of a labelled cell for parts of one figure, and loses the caption."
    for c in cells(path):
        if not re.search(r"^#\| label: fig-", c["source"], re.M): continue
        displayed = [o for o in c["outputs"] if o["output_type"] in ("display_data", "execute_result")]
        assert len(displayed) == 1 and re.search(r"^#\| fig-cap: ", c["source"], re.M), c["id"]


def option(name, source):
    "What stands in a cell's line `#| name: ...`, without its quotation marks."
    found = re.search(rf"^#\| {name}: (.+)$", source, re.M)
    return json.loads(found[1]) if found else ""


@everywhere
def test_a_captioned_picture_has_words_for_those_who_cannot_see_it(path):
    "They say what is to be seen, which the caption takes for granted; an output that is no image has words in itself."
    said = []
    for c in cells(path):
        caption, words = (option(name, c["source"]) for name in ("fig-cap", "fig-alt"))
        if not caption: continue
        assert 40 < len(words) < 400 and words.endswith(".") and words != caption, c["id"]
        said.append(words)
    assert len(set(said)) == len(said)


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
