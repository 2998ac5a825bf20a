"""The report of a small study: in a browser without a network, and its tables in other people's programs."""
import csv, html, itertools, json, re, shutil, subprocess
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np, pandas as pd, pytest, torch
import bioplaus.report as report, bioplaus.training as training
from bioplaus.cli import main
from bioplaus.core import cards
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.records import verify
from bioplaus.report import write_report
from bioplaus.rule import make_rule
from bioplaus.stats import permutation
from bioplaus.study import Study, load_study, run_study
from bioplaus.training import fit, untrained
from bioplaus.updates import mini_batches

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    study = Study(("backprop", "hebb", "hebb-clamp", "softhebb"), ("digits",), classes=(2, 10), seeds=6, epochs=3,
                  hidden=(20,), perturbations=("gaussian:0.2", "gaussian:0.4", "fgsm:0.05"))
    run_study(study, out, progress=False)
    return out


@pytest.fixture(scope="module")
def page(folder):
    "Written with two cells that failed, one with a long message that holds markup."
    load, report.load_study = report.load_study, lambda out: with_failures(load_study(out))
    try: return report.write_report(folder)
    finally: report.load_study = load


def with_failures(outcome):
    errors = ["RunFailed: <script>alert(1)</script> " + "word " * 60, "x" * 400]
    failures = pd.DataFrame({"rule": ["dfc", "fa"], "task": "digits", "classes": [2, 10], "error": errors})
    return replace(outcome, failures=failures)


@pytest.fixture(scope="module")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium: pytest.skip("no chromium on this machine")
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield b
        b.close()


# what sticks out of the window and can't be scrolled to
CUT_OFF = """() => {
    const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement))
    const beyond = e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e)
    return [...document.querySelectorAll("body *")].filter(beyond).map(e => e.outerHTML.slice(0, 100))
}"""


def test_in_a_browser(page, browser):
    "Opened on a phone; by day and by night and at three widths, what it says is there and can be reached."
    tab = browser.new_page(viewport={"width": 390, "height": 900})
    asked, complaints = [], []
    tab.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    tab.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.on("dialog", lambda d: (complaints.append(d.message), d.dismiss()))
    tab.goto(page.as_uri(), wait_until="load")
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for width, scheme in itertools.product((390, 320, 1200), ("light", "dark")):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(color_scheme=scheme)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width and not tab.evaluate(CUT_OFF)
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0 && i.alt.length > 10)")
    assert tab.locator("img").count() == 2 * 3 + 10
    titles = tab.locator("h1, h2").all_inner_texts()
    assert titles[:3] == ["Learning rules compared", "2 cells failed", "The answer"]
    assert tab.locator("nav a").all_inner_texts() == titles[3:]
    for link in tab.locator("nav a").all(): assert tab.locator(link.get_attribute("href")).count() == 1
    failures = tab.locator(".failures").inner_text()
    assert "<script>alert(1)</script>" in failures and "x" * 400 in failures
    assert not asked and not complaints
    tab.close()


def test_on_paper(page, browser, tmp_path):
    "Folds are open, the contents are gone, and nothing is cut off."
    tab = browser.new_page(viewport={"width": 720, "height": 1000})
    tab.goto(page.as_uri())
    folded = tab.locator("details .wide, details p")
    assert folded.count() > 10 and not any(f.is_visible() for f in folded.all())
    tab.emulate_media(media="print")
    assert all(f.is_visible() for f in folded.all()) and not tab.locator("nav").is_visible()
    right = tab.evaluate("[...document.querySelectorAll('img, table, p')].map(e => e.getBoundingClientRect().right)")
    assert len(right) > 50 and max(right) <= 721
    assert tab.evaluate("[...document.images].every(i => getComputedStyle(i).breakInside == 'avoid')")
    tab.close()


def test_says_what_the_terminal_says(page):
    "Every sentence of the answer stands on the page and, wrapped, in the terminal."
    from bioplaus.tables import answer_lines, by_task, checks_of, text_report
    outcome, text = load_study(page.parent), page.read_text(encoding="utf-8")
    said = " ".join(text_report(outcome).split())
    for results in by_task(outcome.results):
        lines = answer_lines(results, checks_of(outcome, results), outcome.trouble)
        assert len(lines) >= 3 and all(html.escape(line, quote=False) in text for line in lines)
        if results.classes.iloc[0] == 10: assert all(" ".join(line.split()) in said for line in lines)


STUDIES = {  # what a study may be, which section its page lacks, and what it says
    "one rule, one seed": (
        dict(rules=("softhebb",), seeds=1, perturbations=("gaussian:0.3",)), "attacks", "has nothing to be compared"),
    "no perturbation": (
        dict(rules=("backprop", "frozen"), seeds=2, perturbations=()), "noise", "Noise: none in this study."),
    "attacks alone": (
        dict(rules=("backprop", "softhebb"), seeds=3, perturbations=("fgsm:0.1",)), "noise", "takes backprop from"),
    "no hidden layer": (
        dict(rules=("linear", "backprop"), seeds=2, perturbations=("fgsm:0.1",), hidden=()), "noise", "clean images"),
}


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.usefixtures("png_alone")
def test_other_studies_have_a_page_too(kind, tmp_path, capfd):
    settings, without, said = STUDIES[kind]
    small = dict(tasks=("digits",), classes=(3,), epochs=1, hidden=(8,)) | settings
    run_study(Study(**small), tmp_path, progress=False)
    text = report.write_report(tmp_path).read_text(encoding="utf-8")
    sections = re.findall(r'<h2 id="(\w+)"', text)
    assert sections[:2] == ["answer", "clean"] and without not in sections and sections[-1] == "provenance"
    assert said in text and "nan" not in re.sub(r"<[^>]*>|base64[^\"]*", "", text).split()
    assert "Warning" not in capfd.readouterr().err


def test_no_serious_accessibility_fault(page, browser):
    if not shutil.which("npm"): pytest.skip("no npm on this machine")
    from tools.docs import npm_package
    axe = (npm_package("axe-core", "4.14.1") / "axe.min.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        tab = browser.new_page(color_scheme=scheme)
        tab.goto(page.as_uri())
        tab.evaluate(axe)
        found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        grave = [v for v in found if v["impact"] in ("serious", "critical")]
        faults = {v["id"]: [n["html"][:120] for n in v["nodes"]][:4] for v in grave}
        assert not faults, faults
        tab.close()


def tables(page, ending): return sorted((page.parent / "tables").glob(f"*.{ending}"))


def test_every_table_is_there_in_three_forms(page):
    kinds = ("accuracy", "differences", "statistics", "checks", "means")
    names = [f"digits_{labels}_20_{kind}" for labels in ("0-1", "0-1-2-3-4-5-6-7-8-9") for kind in kinds]
    names += ["settings", "provenance", "failures", "updates", "updates_cosine"]
    for ending in ("csv", "md", "tex"): assert [f.stem for f in tables(page, ending)] == sorted(names)
    # on the page accuracies and differences stand where their question is: clean, and apart noise and attacks
    assert page.read_text(encoding="utf-8").count("<table") == 2 * (1 + 2 + 2 + 3) + 5


def test_csv_holds_the_numbers(page):
    results = pd.read_csv(page.parent / "results.csv")
    clean = results[(results.perturbation == "clean") & (results.classes == 10)]
    clean = clean.pivot(index="seed", columns="rule", values="accuracy")
    stored = pd.read_csv(page.parent / "tables" / "digits_0-1-2-3-4-5-6-7-8-9_20_statistics.csv")
    row = stored.set_index(["family", "comparison"]).loc[("clean", "hebb − backprop")]
    assert np.isclose(row.difference, (clean.hebb - clean.backprop).mean())
    assert np.isclose(row.p, permutation(clean.hebb, clean.backprop).p)
    means = pd.read_csv(page.parent / "tables" / "digits_0-1-2-3-4-5-6-7-8-9_20_means.csv")
    means = means.set_index(["condition", "rule"])
    assert np.isclose(means.loc[("clean", "softhebb"), "sd"], clean.softhebb.std()) and means.n.eq(6).all()


@pytest.mark.parametrize("name", cards())
def test_weights_before_training_are_made_again(name):
    "All that a rule is made of, feedback weights included, as `fit` had it at epoch 0."
    task, seen = load_task("digits:few=5", device="cpu"), {}
    def first(run): seen.setdefault("state", {k: v.clone() for k, v in run.rule.state_dict().items()})
    hidden = () if name == "linear" else (12, 12)
    rule = make_rule(name, MLP((64, *hidden, 10), act="tanh", replicas=2, seed=3))
    run = fit(rule, task, epochs=1, callbacks=[first], progress=False)
    again = untrained(json.loads(json.dumps(run.config)), task.x_train).state_dict()
    for k, v in seen["state"].items(): assert torch.equal(v, again[k]), k


def test_updates_are_those_of_the_stored_networks(page, folder):
    "The mean cosine of clamped Hebb's output layer, by autograd and by hand."
    task, runs = report._networks(folder, load_study(folder))
    rows = pd.read_csv(page.parent / "tables" / "updates.csv").query("rule == 'hebb-clamp' and layer == 'output'")
    rows = rows.set_index("moment")
    run = runs["hebb-clamp"]
    for moment, rule in (("start", untrained(run.config, task.x_train)), ("end", run.rule)):
        cosines = []
        for x, y in mini_batches(task.x_train, task.y_train, 10, 32):
            rule(x, y)
            mine = rule.net.weights[-1].grad.clone()
            loss = sum(torch.nn.functional.cross_entropy(z, y) for z in rule.predict(x))
            true, = torch.autograd.grad(loss, rule.net.weights[-1])
            cosines.append(torch.cosine_similarity(mine.flatten(1), true.flatten(1)))
        np.testing.assert_allclose(rows.cosine[moment], torch.stack(cosines).detach().mean(), atol=1e-4)


def test_markdown_has_as_many_cells_in_every_row(page):
    for f in tables(page, "md"):
        lines = f.read_text(encoding="utf-8").splitlines()
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1, f
        rows = list(csv.reader(f.with_suffix(".csv").open(encoding="utf-8", newline="")))
        assert len(lines) == 2 + len(rows) - 1, f


# what may stand in a LaTeX table beside words
MARKUP = re.compile(r"(?<!\\)\$.+?(?<!\\)\$|\\[%_&#${}]|\\(begin|end)\{tabular\}(\{lr*\})?"
                    r"|\\text\w+\{\}|\\dag\{\}|\\\\$", re.M)


def test_latex_is_escaped(page):
    from matplotlib.mathtext import MathTextParser
    for f in tables(page, "tex"):
        text = f.read_text(encoding="utf-8")
        assert text.isascii(), f
        formulas = set(re.findall(r"(?<!\\)\$(.+?)(?<!\\)\$", text)) - {r"\surd"}
        for formula in formulas: MathTextParser("path").parse(f"${formula}$")
        words = MARKUP.sub("", text)
        assert not re.search(r"[%_#$^~{}<>|]", words), (f, re.search(r".*[%_#$^~{}<>|].*", words)[0])
        rows = [r for r in text.splitlines() if r.endswith(r"\\")]
        assert len({len(re.split(r"(?<!\\)&", r)) for r in rows}) == 1, f


def test_latex_compiles(page, tmp_path):
    if not shutil.which("pdflatex"): pytest.skip("no pdflatex on this machine")
    body = "\n\n".join(f.read_text(encoding="utf-8") for f in tables(page, "tex"))
    text = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
    (tmp_path / "t.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=tmp_path,
                          capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.usefixtures("png_alone")
def test_is_made_again_without_training_and_the_same(page, folder, monkeypatch):
    "Nothing is trained again: with a step of training impossible, the same page comes out."
    again = shutil.copytree(folder, folder.with_name("copy"), dirs_exist_ok=True)
    def step(*_, **__): raise AssertionError("a report trains nothing")
    monkeypatch.setattr(training, "train_epoch", step)
    text = report.write_report(again).read_text(encoding="utf-8")
    failed = r'<h2 class="red">2 cells failed.*?</table></div>'
    unfailed = re.sub(failed, "", page.read_text(encoding="utf-8"), flags=re.S)
    assert text == unfailed.replace(folder.name, again.name)


@pytest.mark.usefixtures("png_alone")
def test_a_report_on_filters_shows_them_and_what_they_were_trained_with(tmp_path):
    "First filters before and after training as pictures of their window; the rates and units of the network."
    how = dict(tasks=("digits",), classes=(2,), seeds=2, epochs=1, net="c4k3 pool2", perturbations=("fgsm:8/255",))
    run_study(Study(("backprop", "frozen-filters"), **how), tmp_path, progress=False)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "figures" / "representations_weights.png").exists() and "fgsm 8/255" in page
    assert (tmp_path / "figures" / "representations_changes.png").exists() and "Not drawn" not in page
    settings = pd.read_csv(tmp_path / "tables" / "settings.csv", index_col=0).iloc[:, 0]
    assert settings["learning rate of backprop"] == str(cards()["backprop"].lr_conv)
    assert "hidden" not in settings and settings["act"] == "of the network"


def test_the_card_of_a_cell_is_shown(tmp_path, capsys):
    "A study keeps a copy of each cell's model outside the cell's folder."
    how = dict(tasks=("digits",), classes=(2,), seeds=1, epochs=1, perturbations=())
    run_study(Study(("backprop",), **how), tmp_path, progress=False)
    cell, = (tmp_path / "cells").iterdir()
    assert set(verify(cell).state) == {"whole"}
    with patch("sys.argv", ["bioplaus", "show", str(cell)]): main()
    assert "rule        backprop" in capsys.readouterr().out
