"""The built site, as files and in a browser: run python tools/docs.py first."""
import functools, html.parser, http.server, json, re, shutil, threading
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "_docs"
PAGES = sorted(DOCS.glob("*.html"))
pytestmark = pytest.mark.skipif(not PAGES, reason="no site: run python tools/docs.py")
everywhere = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


class Page(html.parser.HTMLParser):
    "Links, anchors and assets of one page."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.assets = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get("id"): self.ids.add(a["id"])
        if tag == "a" and a.get("href"): self.links.append(a["href"])
        if tag in ("script", "img") and a.get("src"): self.assets.append(a["src"])
        if tag == "link" and a.get("rel") == "stylesheet": self.assets.append(a["href"])


@pytest.fixture(scope="session")
def pages(): return {p.name: Page(p) for p in PAGES}


def test_every_notebook_has_a_page():
    assert len(PAGES) == len([f for f in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in f.parts])


@everywhere
def test_links_and_anchors(page, pages):
    for href in pages[page.name].links:
        if re.match(r"[a-z]+:|//", href): continue
        path, anchor = urldefrag(unquote(href))
        assert not path or (page.parent / path).exists(), href
        target = Path(path).name or page.name
        if anchor and target in pages: assert anchor in pages[target].ids, href


@everywhere
def test_assets_lie_beside_the_page(page, pages):
    for source in pages[page.name].assets:
        assert source.startswith("data:") or not re.match(r"[a-z]+:|//", source), source
        if not source.startswith("data:"): assert (page.parent / unquote(source.split("?")[0])).exists(), source


@pytest.fixture(scope="session")
def address():
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(DOCS)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium: pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        b = p.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-quic"])
        yield b
        b.close()


def opened(browser, url, width):
    "A page at that width, and lists of what it asked for elsewhere and of what it complained about."
    tab, strange, complaints = browser.new_page(viewport={"width": width, "height": 900}), [], []
    tab.on("request", lambda r: strange.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else None)
    tab.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda e: complaints.append(str(e)))
    tab.goto(url, wait_until="load")
    tab.wait_for_timeout(300)
    return tab, strange, complaints


def formulas(page):
    "How many displayed formulas the notebook behind a page has."
    for nb in (ROOT / "nbs").rglob("*.ipynb"):
        if re.sub(r"^\d+\w?_", "", nb.stem) == page.stem:
            text = "\n".join("".join(c["source"]) for c in json.loads(nb.read_text())["cells"] if c["cell_type"] == "markdown")
            return text.count("$$") // 2
    raise AssertionError(f"no notebook for {page.name}")


@everywhere
def test_in_a_browser(page, browser, address):
    for width in (1200, 390):
        tab, strange, complaints = opened(browser, address + page.name, width)
        assert not strange and not complaints
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"the page is wider than {width} px"
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert tab.locator(".katex-display").count() >= formulas(page) and tab.locator(".katex-error").count() == 0
        tab.close()


def background(tab): return tab.evaluate("getComputedStyle(document.body).backgroundColor")


def test_dark_and_light(browser, address):
    tab, *_ = opened(browser, address + "rule.html", 1200)
    before = background(tab)
    tab.locator(".quarto-color-scheme-toggle").first.click()
    tab.wait_for_timeout(300)
    assert background(tab) != before
    tab.close()


def test_search_finds(browser, address):
    tab, *_ = opened(browser, address + "index.html", 1200)
    tab.locator("#quarto-search input, #quarto-search button").first.click()
    tab.keyboard.type("covariance", delay=20)
    hit = tab.locator("a[href*='hebbian.html']:visible").filter(has_text=re.compile("covariance|Hebb", re.I))
    hit.first.wait_for(timeout=5000)
    tab.close()
