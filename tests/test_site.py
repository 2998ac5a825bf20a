"""The built site, as files and in a browser: run python tools/docs.py first."""
import functools, html.parser, http.server, json, re, shutil, threading
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "_docs"
PAGES = sorted(f for f in DOCS.rglob("*.html") if "site_libs" not in f.parts)
NBS = {re.sub(r"^\d+[^\W_]*_", "", f.stem): f for f in (ROOT / "nbs").rglob("[!_.]*.ipynb") if ".ipynb_checkpoints" not in f.parts}
pytestmark = pytest.mark.skipif(not PAGES, reason="no site: run python tools/docs.py")
everywhere = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


class Page(html.parser.HTMLParser):
    "Links, anchors and assets of one page."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.assets = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get("id"): self.ids.append(a["id"])
        if tag == "a" and a.get("href"): self.links.append(a["href"])
        if tag in ("script", "img") and a.get("src"): self.assets.append(a["src"])
        if tag == "link" and a.get("rel") == "stylesheet": self.assets.append(a["href"])


@pytest.fixture(scope="session")
def pages(): return {p.name: Page(p) for p in PAGES}


def test_every_notebook_has_a_page():
    assert {p.stem for p in PAGES} == set(NBS)


def cells(page, kind):
    "The sources of the cells of one kind in the notebook behind a page."
    return ["".join(c["source"]) for c in json.loads(NBS[page.stem].read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


@everywhere
def test_figures_and_equations_have_their_anchors(page, pages):
    labels = [m for s in cells(page, "code") for m in re.findall(r"^#\| label: (fig-[\w-]+)", s, re.M)]
    labels += [m for s in cells(page, "markdown") for m in re.findall(r"\{#(eq-[\w-]+)\}", s)]
    for label in labels: assert pages[page.name].ids.count(label) == 1, label


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


def formulas(page): return "\n".join(cells(page, "markdown")).count("$$") // 2


def background(tab): return tab.evaluate("getComputedStyle(document.body).backgroundColor")


def toggle(tab):
    "From light to dark or back; the button is folded away on a phone."
    before = background(tab)
    tab.evaluate("document.querySelector('.quarto-color-scheme-toggle').click()")
    tab.wait_for_function("b => getComputedStyle(document.body).backgroundColor != b", arg=before, timeout=5000)
    tab.wait_for_function("document.getAnimations().length == 0", timeout=5000)  # links fade from colour to colour


# how far the letters of linked code stand out from what is behind them: WCAG's ratio of luminances, which asks for 4.5
CONTRAST = """() => {
    const read = colour => colour.match(/[\\d.]+/g).map(Number)
    const light = c => c.slice(0, 3).map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0)
    const opaque = c => c.length < 4 || c[3] > .5
    const behind = e => e ? (c => opaque(c) ? c : behind(e.parentElement))(read(getComputedStyle(e).backgroundColor)) : [255, 255, 255]
    const ratio = e => (([a, b]) => (b + .05) / (a + .05))([light(read(getComputedStyle(e).color)), light(behind(e))].sort((a, b) => a - b))
    return Math.min(21, ...[...document.querySelectorAll("main a code")].map(ratio))
}"""


# formulas not drawn, not understood, or with a macro KaTeX doesn't know, which it writes in red
UNDRAWN = ".math:not(:has(.katex)), .katex-error, .katex [style*='#cc0000'], .katex [style*='204, 0, 0']"

# what sticks out of the window and can't be scrolled to: a page that hides its overflow is no wider, but something is cut off
CUT_OFF = """() => {
    const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement))
    const out = [...document.querySelectorAll("main *:not(.katex *)")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
    return out.map(e => e.outerHTML.slice(0, 100))
}"""


@pytest.mark.parametrize("width", [1200, 390])
@everywhere
def test_in_a_browser(page, width, browser, address):
    tab, strange, complaints = opened(browser, address + page.relative_to(DOCS).as_posix(), width)
    for theme in ("light", "dark"):
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, f"{theme}: the page is wider than {width} px"
        assert not tab.evaluate(CUT_OFF), theme
        assert tab.evaluate(CONTRAST) >= 4.5, f"{theme}: linked code can't be read"
        assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)"), theme
        assert tab.locator(".katex-display").count() >= formulas(page)
        assert tab.locator(UNDRAWN).count() == 0, theme
        if theme == "light": toggle(tab)
    assert not strange and not complaints
    tab.close()


def test_search_leads_to_the_page(browser, address):
    tab, *_ = opened(browser, address + "index.html", 1200)
    tab.locator("#quarto-search input, #quarto-search button").first.click()
    tab.keyboard.type("Hebb", delay=20)
    hit = tab.locator("a[href*='hebbian.html']:visible").filter(has_text=re.compile("Hebb"))
    hit.first.click(timeout=5000)
    tab.wait_for_url(re.compile("hebbian.html"), timeout=5000)
    assert tab.locator("h1").first.inner_text() == "Hebb"
    tab.close()
