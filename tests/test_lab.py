"The widgets in a real JupyterLab, moved by mouse and keyboard in a browser: pip install jupyterlab to run it."
import os, re, shutil, socket, subprocess, sys, time, urllib.request
from pathlib import Path

import pytest

pytest.importorskip("jupyterlab")
pytest.importorskip("playwright")
nbformat = pytest.importorskip("nbformat")
ROOT = Path(__file__).parent.parent

SETUP = """import warnings; warnings.simplefilter("ignore")
from bioplaus.data import load_task
from bioplaus.network import MLP
from bioplaus.rule import make_rule
from bioplaus.training import fit
from bioplaus.widgets import explore_representations, explore_robustness, explore_rule, watch_training
task = load_task("digits", device="cpu")
rules = {n: fit(make_rule(n, MLP((64, 20, 10))), task, epochs=5, progress=False).rule
         for n in ("backprop", "softhebb")}"""
WATCH = """watch = watch_training()
watch.start(make_rule("backprop", MLP((64, 20, 10))), task, epochs=5000)
watch"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    home = tmp_path_factory.mktemp("lab")
    cells = [SETUP, "explore_rule(task, 'backprop')", "explore_robustness(rules, task)",
             "explore_representations(rules, task, each=8)", WATCH]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel)
    nbformat.write(nb, home / "widgets.ipynb")
    return home


@pytest.fixture(scope="module")
def lab(notebook):
    "The address of a server that ends with the tests."
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    options = [f"--ServerApp.port={port}", f"--ServerApp.root_dir={notebook}", "--IdentityProvider.token=t",
               "--no-browser", "--allow-root", "--ServerApp.port_retries=0"]
    server = subprocess.Popen([sys.executable, "-m", "jupyterlab", *options], env=env, cwd=notebook,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api?token=t", timeout=1)
            break
        except OSError: time.sleep(0.5)
    yield f"{address}/lab/tree/widgets.ipynb?token=t"
    server.terminate()
    server.wait(20)


def wait(condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "nothing happened"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def page(lab):
    "The notebook, all of its cells run."
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium: pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1200, "height": 3200})  # JupyterLab draws the cells in sight only
        tab.goto(lab)
        tab.locator(".jp-Notebook .jp-CodeCell").nth(4).wait_for(timeout=90_000)
        idle = tab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle], .jp-Toolbar-kernelStatus")
        idle.first.wait_for(state="attached", timeout=60_000)
        tab.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
        tab.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
        tab.locator(".jp-CodeCell").nth(4).locator("button", has_text="Stop").wait_for(timeout=120_000)
        yield tab
        if os.environ.get("LAB_PICTURE"): tab.screenshot(path=os.environ["LAB_PICTURE"])
        browser.close()


def panel(page, n): return page.locator(".jp-CodeCell").nth(n)


def said(page, n): return panel(page, n).locator(".widget-label").last.inner_text()


def picture(page, n): return panel(page, n).locator(".widget-image").get_attribute("src")


def test_explore_rule(page):
    panel(page, 1).locator("button", has_text="Train").click()
    wait(lambda: "validation accuracy" in said(page, 1))
    assert picture(page, 1)
    panel(page, 1).locator("select").select_option("softhebb")
    panel(page, 1).locator("button", has_text="Train").click()
    wait(lambda: said(page, 1).startswith("softhebb, rate × 1") and "validation accuracy" in said(page, 1))


def test_explore_robustness(page):
    before, first = said(page, 2), picture(page, 2)
    panel(page, 2).locator(".noUi-handle").first.press("ArrowRight")  # the next image
    wait(lambda: picture(page, 2) != first)
    second = picture(page, 2)
    panel(page, 2).locator(".noUi-handle").last.press("PageUp")       # an attack
    wait(lambda: picture(page, 2) != second)
    assert before.startswith("label") and said(page, 2).startswith("label")


def test_explore_representations(page):
    first = picture(page, 3)
    assert "Rank correlation with the distances of backprop: softhebb" in said(page, 3)
    panel(page, 3).locator("select").first.select_option("output")
    wait(lambda: picture(page, 3) != first)
    first = picture(page, 3)
    panel(page, 3).locator("select").nth(2).select_option("t-SNE")
    wait(lambda: picture(page, 3) != first)


def test_watch_training_and_stop_it(page):
    epoch = lambda: int(re.search(r"epoch (\d+) of 5000", said(page, 4))[1])
    wait(lambda: "epoch" in said(page, 4))
    start = epoch()
    wait(lambda: epoch() > start)
    panel(page, 4).locator("button", has_text="Stop").click()
    wait(lambda: said(page, 4).endswith(", stopped"))
    assert epoch() < 5000
