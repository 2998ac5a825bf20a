"""The built site, as files and in a browser: run python tools/docs.py first."""
import functools, html, html.parser, http.server, json, re, shutil, sys, threading
from pathlib import Path
from urllib.parse import unquote, urldefrag

import nbformat, pytest
from tools.docs import leads_on

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "_docs"
PAGES = sorted(f for f in DOCS.rglob("*.html") if "site_libs" not in f.parts)
NBS = {re.sub(r"^\d+[^\W_]*_", "", f.stem): f for f in (ROOT / "nbs").rglob("[!_.]*.ipynb")
       if ".ipynb_checkpoints" not in f.parts}
pytestmark = pytest.mark.skipif(not PAGES, reason="no site: run python tools/docs.py")
everywhere = pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)


class Page(html.parser.HTMLParser):
    "Links, anchors and assets of one page."
    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.assets = [], [], []
        self.images, self.meta = [], {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if a.get("id"): self.ids.append(a["id"])
        if tag == "a" and a.get("href"): self.links.append(a["href"])
        if tag in ("script", "img") and a.get("src"): self.assets.append(a["src"])
        if tag == "img": self.images.append(a.get("alt") or "")
        if tag == "meta" and a.get("content"): self.meta[a.get("property") or a.get("name")] = a["content"]
        if tag == "link" and a.get("rel") == "stylesheet": self.assets.append(a["href"])


@pytest.fixture(scope="session")
def pages(): return {p.name: Page(p) for p in PAGES}


def test_every_notebook_has_a_page():
    assert {p.stem for p in PAGES} == set(NBS)


def cells(page, kind):
    "The sources of the cells of one kind in the notebook behind a page."
    notebook = json.loads(NBS[page.stem].read_text(encoding="utf-8"))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == kind]


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
def test_no_markup_is_left_in_the_text(page):
    text = re.sub(r"<(script|style|pre|code)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.S)
    assert not re.findall(r"[^\n]{0,30}(?:\]\(\w|\*\*\w|\{#\w)[^\n]{0,30}", html.unescape(re.sub(r"<[^>]+>", "", text)))


@everywhere
def test_assets_lie_beside_the_page(page, pages):
    for source in pages[page.name].assets:
        assert source.startswith("data:") or not re.match(r"[a-z]+:|//", source), source
        if not source.startswith("data:"): assert (page.parent / unquote(source.split("?")[0])).exists(), source


@everywhere
def test_every_picture_has_words(page, pages): assert all(len(alt) > 10 for alt in pages[page.name].images)


@everywhere
def test_a_page_and_what_it_needs_weigh_little(page, pages):
    beside = [s for s in pages[page.name].assets if not s.startswith("data:")]
    files = [page, *((page.parent / unquote(s.split("?")[0])).resolve() for s in beside)]
    assert sum(f.stat().st_size for f in files) < 2e6


@everywhere
def test_no_script_from_elsewhere_blocks_the_first_paint(page, pages):
    assert not re.search(r"@import\s+(url\()?['\"]?https?:", page.read_text(encoding="utf-8"))
    for source in pages[page.name].assets:
        if source.endswith(".css"):
            assert "@import url(" not in (page.parent / unquote(source)).read_text(encoding="utf-8"), source


@everywhere
def test_what_a_link_to_the_page_shows(page, pages):
    meta = pages[page.name].meta
    assert meta["og:title"] and meta["og:description"] and meta["twitter:card"] == "summary_large_image"
    assert (DOCS / meta["og:image"].rpartition("/")[2]).stat().st_size < 3e5


@everywhere
def test_the_notebook_can_be_taken_away(page, pages):
    "The copy is the notebook, after one cell for Colab, with pictures from the site."
    notebook = NBS[page.stem].relative_to(ROOT / "nbs").as_posix()
    colab = rf"https://colab\.research\.google\.com/github/[\w-]+/[\w-]+/blob/notebooks/{notebook}"
    assert any(re.fullmatch(colab, a) for a in pages[page.name].links)
    copy = next(a for a in pages[page.name].links if re.fullmatch(rf"(\.\./)*notebooks/{notebook}", a))
    copy, original = (json.loads(f.read_text(encoding="utf-8")) for f in (page.parent / copy, NBS[page.stem]))
    here = re.sub(r"\]\(https://[\w./-]+?/(images/[\w.]+\))", r"](\1", json.dumps(copy | {"cells": copy["cells"][1:]}))
    assert copy["cells"][0]["id"] == "colab" and here == json.dumps(original).replace("](../images/", "](images/")
    nbformat.validate(nbformat.from_dict(copy))


@pytest.mark.parametrize("colab", [True, False])
@pytest.mark.parametrize("notebook", ["05_rule.ipynb", "tutorials/90_zoo.ipynb"])
def test_the_first_cell_in_colab(notebook, colab, monkeypatch):
    "It installs the package from the repository; elsewhere it does nothing."
    from IPython.core.inputtransformer2 import TransformerManager
    asked = []
    if colab: monkeypatch.setitem(sys.modules, "google.colab", sys)
    source = json.loads((DOCS / "notebooks" / notebook).read_text(encoding="utf-8"))["cells"][0]["source"]
    shell = type("Shell", (), {"run_line_magic": lambda self, *call: asked.append(call)})()
    exec(TransformerManager().transform_cell(source), {"get_ipython": lambda: shell})
    assert asked == ([("pip", "install -q git+https://github.com/bioplaus/bioplaus")] if colab else [])


def test_the_site_says_what_it_holds():
    "A sitemap with every page, and llms.txt, which points to a plain copy of each."
    sitemap = (DOCS / "sitemap.xml").read_text(encoding="utf-8")
    listed = set(re.findall(r"<loc>(?:[^<]*/bioplaus/)([^<]*)</loc>", sitemap))
    names = {p.relative_to(DOCS).as_posix() for p in PAGES}
    assert listed | {"index.html"} >= names
    llms = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert llms.startswith("# bioplaus") and all(n.removesuffix(".html") in llms for n in names)


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


@pytest.fixture(scope="session")
def axe():
    "axe-core, fetched once through npm, as KaTeX is."
    if not shutil.which("npm"): pytest.skip("no npm on this machine")
    from tools.docs import npm_package
    return (npm_package("axe-core", "4.14.1") / "axe.min.js").read_text(encoding="utf-8")


def opened(browser, url, width):
    "A page at that width, and lists of what it asked for elsewhere and of what it complained about."
    tab, strange, complaints = browser.new_page(viewport={"width": width, "height": 900}), [], []
    own = ("http://127.0.0.1", "data:", "blob:")
    tab.on("request", lambda r: strange.append(r.url) if not r.url.startswith(own) else None)
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
    const linear = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4
    const light = c => c.slice(0, 3).map(linear).reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0)
    const opaque = c => c.length < 4 || c[3] > .5
    const behind = e => {
        if (!e) return [255, 255, 255]
        const c = read(getComputedStyle(e).backgroundColor)
        return opaque(c) ? c : behind(e.parentElement)
    }
    const ratio = e => {
        const both = [light(read(getComputedStyle(e).color)), light(behind(e))]
        return (Math.max(...both) + .05) / (Math.min(...both) + .05)
    }
    return Math.min(21, ...[...document.querySelectorAll("main a code")].map(ratio))
}"""


# formulas not drawn, not understood, or with a macro KaTeX doesn't know, which it writes in red
UNDRAWN = ".math:not(:has(.katex)), .katex-error, .katex [style*='#cc0000'], .katex [style*='204, 0, 0']"

# what sticks out of the window and can't be scrolled to: a page that hides its overflow is no wider, but something is
# cut off
CUT_OFF = """() => {
    const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement))
    const beyond = e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e)
    const out = [...document.querySelectorAll("main *:not(.katex *)")].filter(beyond)
    return out.map(e => e.outerHTML.slice(0, 100))
}"""


def looked_at(tab, page, theme, width):
    "What must be right on every page, on every screen and by day as by night."
    wide = tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, f"{theme}: the page is wider than {width} px"
    assert not tab.evaluate(CUT_OFF), (theme, width)
    assert tab.evaluate(CONTRAST) >= 4.5, f"{theme}: linked code can't be read"
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)"), theme
    assert tab.locator(".katex-display").count() >= formulas(page)
    assert tab.locator(UNDRAWN).count() == 0, theme


def accessible(tab, theme, only):
    "No serious fault that axe-core finds by some of its rules."
    found = tab.evaluate("only => axe.run(document, {resultTypes: ['violations'], ...only})", only)["violations"]
    grave = [v for v in found if v["impact"] in ("serious", "critical")]
    faults = {v["id"]: [n["html"][:120] for n in v["nodes"]][:4] for v in grave}
    assert not faults, f"{theme}: {faults}"


COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}  # axe's rules that depend on the theme

# axe looks at each letter's colours among all that a page holds, which takes ten seconds where there is much code; all
# code has the same few colours, and formulas have the text's. What goes brings no colour that was not there above it.
ONE_OF_EACH_COLOUR = """() => {
    const seen = new Set()
    for (const pre of document.querySelectorAll("main pre")) {
        const fresh = [...pre.querySelectorAll("[class]")].map(e => e.className).filter(name => !seen.has(name))
        fresh.forEach(name => seen.add(name))
        if (!fresh.length) pre.remove()
    }
    document.querySelectorAll(".katex").forEach(e => e.remove())
}"""


CHAPTERS = {name for name, f in NBS.items() if f.parent.name == "nbs" and not leads_on(f)}
FIRST_PICTURE = """() => Math.min(...[...document.querySelectorAll("main img, main svg")]
    .map(e => e.getBoundingClientRect()).filter(at => at.height > 50).map(at => at.top + scrollY))"""


@everywhere
def test_in_a_browser(page, browser, axe, address):
    "Opened on a phone, by day and by night; then in a wide window, which is no other page: so it is loaded once."
    tab, strange, complaints = opened(browser, address + page.relative_to(DOCS).as_posix(), 390)
    looked_at(tab, page, "light", 390)
    toggle(tab)
    looked_at(tab, page, "dark", 390)
    tab.set_viewport_size({"width": 1200, "height": 900})
    looked_at(tab, page, "dark", 1200)
    toggle(tab)
    looked_at(tab, page, "light", 1200)
    if page.stem in CHAPTERS: assert tab.evaluate(FIRST_PICTURE) < 800, "the first screen shows no picture"
    tab.evaluate(axe)
    accessible(tab, "both", {"rules": {"color-contrast": {"enabled": False}}})
    tab.evaluate(ONE_OF_EACH_COLOUR)
    accessible(tab, "light", COLOURS)
    toggle(tab)
    accessible(tab, "dark", COLOURS)
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


@pytest.mark.parametrize("words, page", [
    ("install", "index.html"), ("own data", "tutorials/own_data.html"), ("learning curves", "plots.html"),
    ("dendrites", "microcircuit.html"), ("data own your", "tutorials/own_data.html"),
    ("layer-specific learning rates", "tutorials/twelve_questions.html"), ("noise", "noise.html")])
def test_search_finds_by_words_in_any_order(words, page, browser, address):
    tab, *_ = opened(browser, address + "index.html", 1200)
    tab.locator("#quarto-search input, #quarto-search button").first.click()
    tab.locator("#quarto-search input").first.fill(words)  # at once: letter by letter finds what begins so, first
    tab.wait_for_selector(".search-result")
    tab.wait_for_timeout(500)
    hits = tab.evaluate("[...document.querySelectorAll('.search-result')].map(e => e.getAttribute('href'))")
    assert any(page in hit for hit in hits[:6]), hits[:6]
    tab.close()


def test_the_first_screen_answers(browser, address):
    "A question, its answer as a picture, a button to start with, the repository; and networks that react below."
    tab, *_ = opened(browser, address + "index.html", 1280)
    in_sight = lambda selector: tab.locator(selector).first.evaluate("e => e.getBoundingClientRect().top") < 800
    assert in_sight("main img") and in_sight("main a.btn") and tab.locator("nav a[href*='github.com']").count()
    assert tab.locator(".nav-footer a[href*='github.com']").count()
    slider = game(tab, "answers").locator("input[type=range]").first
    before = said(tab, "answers")
    slider.focus()
    tab.keyboard.press("End")
    tab.wait_for_timeout(200)
    assert said(tab, "answers") != before
    tab.locator("main a.btn").first.click()
    tab.wait_for_url(re.compile("tour.html"))
    tab.close()


def test_what_only_tests_or_draws_is_folded(browser, address):
    tab, *_ = opened(browser, address + "hebbian.html", 1200)
    closed = tab.locator("main details.code-fold:not([open]) > summary").all_inner_texts()
    assert any(re.fullmatch(r"Tests \(\d+, all pass\)", words) for words in closed) and "Code of the figure" in closed
    lessons = tab.locator("main details.code-fold[open]").all_inner_texts()
    assert any("def oja(" in source for source in lessons)  # what a synapse does is there to be read
    tests = tab.locator("main details.code-fold", has_text="all pass").first
    tests.locator("summary").click()
    assert "assert" in tests.inner_text()
    tab.close()


@pytest.mark.parametrize("width", [1200, 390])
def test_the_list_of_pages_shows_where_one_is(width, browser, address):
    tab, *_ = opened(browser, address + "attacks.html", width)
    if width < 600:
        tab.locator(".quarto-btn-toggle:visible, .quarto-secondary-nav button:visible").first.click()
        tab.wait_for_timeout(1000)
    place = tab.evaluate("""() => {
        const [list, here] = ["#quarto-sidebar", "#quarto-sidebar [aria-current=page]"].map(s =>
            document.querySelector(s).getBoundingClientRect())
        return here.height && here.top >= list.top - 1 && here.bottom <= Math.min(list.bottom, innerHeight) + 1 }""")
    assert place
    tab.close()


# what can be scrolled sideways, and of that, what doesn't show it
SCROLLS = """() => {
    const wide = e => /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 2 &&
        e.getBoundingClientRect().height > 0
    const found = [...document.querySelectorAll("main *:not(.katex *)")].filter(wide)
    return [found.length, found.filter(e => !e.matches(".goes-on")).map(e => e.outerHTML.slice(0, 100))]
}"""


@pytest.mark.parametrize("name", ["control.html", "stats.html", "tutorials/zoo.html", "tutorials/the_hypothesis.html"])
def test_what_is_wider_than_a_phone_shows_that_it_goes_on(name, browser, address):
    "Formulas, tables, pictures and code fade at the edge, until one has scrolled to the end."
    tab, *_ = opened(browser, address + name, 390)
    found, silent = tab.evaluate(SCROLLS)
    assert found > 5 and not silent
    first = tab.locator("main .goes-on").first
    first.evaluate("e => e.scrollLeft = e.scrollWidth")
    tab.wait_for_timeout(200)
    assert not tab.locator("main [tabindex]").first.evaluate("e => e.matches('.goes-on')")
    tab.close()


@pytest.mark.parametrize("width", [1000, 1200, 1366, 1600])
def test_a_line_of_76_columns_fits(width, browser, address):
    tab, *_ = opened(browser, address + "tutorials/tour.html", width)
    room, letter = tab.evaluate("""() => {
        const code = [...document.querySelectorAll("main pre code")].find(e => e.checkVisibility())
        const style = getComputedStyle(code.parentElement), ruler = document.createElement("span")
        ruler.textContent = "0".repeat(100)
        code.append(ruler)
        return [code.parentElement.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
                ruler.getBoundingClientRect().width / 100]
    }""")
    assert room / letter >= 76
    tab.close()


@pytest.mark.parametrize("name", ["control.html", "stats.html", "equilibrium.html"])
def test_equations_break_on_a_phone(name, browser, address):
    tab, *_ = opened(browser, address + name, 390)
    lines = tab.evaluate("[...document.querySelectorAll('.katex-display')].map(e => [e.scrollWidth, e.clientWidth])")
    assert lines and all(wide <= room + 1 for wide, room in lines), lines
    tab.close()


# words of a first column that stand in two lines, though nothing in them is a hyphen
FIRST = "main td:first-child, main tbody th:first-child, main .zoo b"
BROKEN = """first => [...document.querySelectorAll(first)].flatMap(cell => {
    const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = []
    for (let t = texts.nextNode(); t; t = texts.nextNode())
        for (const word of t.data.matchAll(/[a-z]+/g)) {
            const range = document.createRange()
            range.setStart(t, word.index)
            range.setEnd(t, word.index + word[0].length)
            if (new Set([...range.getClientRects()].map(r => Math.round(r.top))).size > 1) broken.push(word[0])
        }
    return broken
})"""


@pytest.mark.parametrize("width", [1200, 390])
def test_names_of_rules_do_not_break_within_a_word(width, browser, address):
    tab, *_ = opened(browser, address + "tutorials/zoo.html", width)
    assert tab.locator("main td, main .zoo b").count() > 60 and tab.evaluate(BROKEN, FIRST) == []
    tab.close()


def test_charts_are_turned_round_in_the_dark_and_pictures_are_not(browser, address):
    tab, *_ = opened(browser, address + "plots.html", 1200)
    if "255" in background(tab): toggle(tab)
    look = "e => [e.matches('.chart'), getComputedStyle(e).filter.includes('invert')]"
    looks = tab.locator("main .cell-output-display img").evaluate_all(f"all => all.map({look})")
    assert [True, True] in looks and [False, False] in looks and all(chart == turned for chart, turned in looks)
    tab.close()


def test_answers_are_folded_and_open_from_the_keyboard(browser, address):
    tab, *_ = opened(browser, address + "hebbian.html", 390)
    folded = tab.locator("main details:not([class])")
    answer = folded.first.locator("p").first
    assert folded.count() >= 3 and not folded.first.evaluate("e => e.open") and not answer.is_visible()
    folded.first.locator("summary").focus()
    tab.keyboard.press("Enter")
    assert answer.is_visible() and folded.first.locator(".katex").count()
    tab.emulate_media(media="print")  # on paper all are open
    assert folded.nth(1).locator("p").first.evaluate("e => e.getBoundingClientRect().height") > 0
    tab.close()


PLAY = DOCS / "tutorials" / "things_to_play_with.html"


@pytest.fixture(params=["file", "http"])
def play(request, browser, address):
    "The page of games, opened as a file and from a server, with what it complained about."
    url = PLAY.as_uri() if request.param == "file" else address + PLAY.relative_to(DOCS).as_posix()
    tab, _, complaints = opened(browser, url, 1000)
    yield tab
    assert not complaints
    tab.close()


def game(tab, kind): return tab.locator(f'[data-play^="{kind}-"]')


def part(tab, kind, name): return game(tab, kind).locator(f'[data-name="{name}"]')


def said(tab, kind): return part(tab, kind, "said").inner_text()


def slide(tab, kind, name, key, times=1):
    "Move a slider from the keyboard."
    part(tab, kind, name).focus()
    for _ in range(times): tab.keyboard.press(key)


def number(pattern, text): return float(re.search(pattern, text)[1].rstrip("."))


@pytest.mark.parametrize("rule", ["Hebb", "Oja", "BCM"])
def test_the_neuron_learns(play, rule):
    part(play, "neuron", "rule").select_option(rule)
    if rule == "BCM": part(play, "neuron", "cloud").select_option("two")
    part(play, "neuron", "run").click()
    play.wait_for_timeout(2500)
    part(play, "neuron", "run").click()
    text = said(play, "neuron")
    if rule == "Hebb": assert "exploded" in text and number(r"line: (\d+)", text) <= 3
    if rule == "Oja": assert abs(number(r"w: ([\d.]+)", text) - 1) < 0.15 and number(r"line: (\d+)", text) <= 10
    if rule == "BCM":  # strong answers to one cluster, weak ones to the other
        circles = part(play, "neuron", "points").locator("circle")
        opacity = [float(v) for v in circles.evaluate_all("cs => cs.map(c => c.getAttribute('fill-opacity'))")]
        first, second = sum(opacity[::2]) / 20, sum(opacity[1::2]) / 20
        assert max(first, second) > 2 * min(first, second)


def test_points_by_mouse_and_keyboard(play):
    part(play, "neuron", "cloud").select_option("none")
    assert part(play, "neuron", "points").locator("circle").count() == 0
    part(play, "neuron", "plane").click(position={"x": 60, "y": 60})
    part(play, "neuron", "plane").press("ArrowRight")
    for key in ("ArrowUp", "Enter"): play.keyboard.press(key)
    points = part(play, "neuron", "points").locator("circle")
    place = lambda n, axis: float(points.nth(n).get_attribute(axis))
    assert points.count() == 2 and abs(place(1, "cx") - 0.2) < 1e-9 and place(0, "cx") < 0 < place(0, "cy")
    part(play, "neuron", "one").click()
    assert said(play, "neuron").startswith("1 points fed")


def test_gain_from_nudge_to_clamp(play):
    low = said(play, "control")
    assert number(r"backprop's: (\d+)", low) <= 3
    slide(play, "control", "gain", "End")
    high = said(play, "control")
    assert number(r"”: ([\d.]+)%", high) > 95 > number(r"”: ([\d.]+)%", low)
    assert number(r"backprop's: (\d+)", high) > 10
    assert part(play, "control", "update").locator("rect").count() == 12 * 16


def test_answers_react(play):
    clean = said(play, "answers")
    assert "4 of 4 are right" in clean
    slide(play, "answers", "attack", "End")
    assert number(r"(\d) of 4 are right", said(play, "answers")) < 4
    slide(play, "answers", "attack", "Home")
    part(play, "answers", "next").click()
    assert said(play, "answers").startswith("Image 2 of 20")


# what the page of answers computes: its networks, and their logits and attack gradients for its images
ANSWERED = """e => {
    const {nets, images, forward, gradient} = e.networks
    const plain = l => ({b: l.b, W: l.W.map(w => Array.from(w))})
    return {
        images, nets: nets.map(n => ({...n, layers: n.layers.map(plain)})),
        logits: nets.map(n => images.map(x => Array.from(forward(n, x).logits))),
        gradients: nets.map(n => images.map(x => Array.from(gradient(n, x, 3)))),
    }
}"""


def answered(net, x):
    "Logits of a network from the page, in PyTorch."
    import torch, torch.nn.functional as F
    r = F.normalize(x, dim=-1) if net["unit"] else (x - net["mean"]) / net["std"]
    for k, l in enumerate(net["layers"]):
        v = r @ torch.tensor(l["W"], dtype=torch.float64).T + torch.tensor(l["b"], dtype=torch.float64)
        if k == len(net["layers"]) - 1: return v
        r = F.normalize(v.clamp(min=0) ** net["power"], dim=-1) if net["act"] == "power" else v.tanh()


def test_answers_are_those_of_the_networks(play):
    "Logits and attack gradients of the script against PyTorch's, on the weights that are in the page."
    import numpy as np, torch, torch.nn.functional as F
    got = game(play, "answers").evaluate(ANSWERED)
    for net, logits, gradients in zip(got["nets"], got["logits"], got["gradients"]):
        x = torch.tensor(got["images"], dtype=torch.float64, requires_grad=True)
        r = answered(net, x)
        grad, = torch.autograd.grad(F.cross_entropy(r, torch.full((len(x),), 3), reduction="sum"), x)
        assert np.allclose(r.detach(), logits, atol=1e-5), net["name"]
        assert np.allclose(grad, gradients, rtol=1e-4, atol=1e-7 + 1e-4 * grad.abs().max().item()), net["name"]


def test_point_at_distances_and_map(play):
    shown = lambda which: part(play, "explorer", which).get_attribute("aria-label")
    text = lambda: said(play, "explorer")
    box = part(play, "explorer", "rdm").bounding_box()
    part(play, "explorer", "rdm").hover(position={"x": box["width"] * 0.2, "y": box["height"] * 0.5})
    first, before = shown("first"), text()
    assert re.match(r"A \d and (another|a \d): distance [\d.]+", before)
    part(play, "explorer", "rdm").press("ArrowDown")
    assert shown("first") != first and text() != before
    part(play, "explorer", "rdm").press("ArrowRight")
    assert shown("second").startswith("A ")
    box = part(play, "explorer", "map").bounding_box()
    part(play, "explorer", "map").hover(position={"x": box["width"] * 0.4, "y": box["height"] * 0.4})
    here = shown("first")
    for key in ("ArrowLeft", "ArrowUp", "ArrowRight", "ArrowDown"): part(play, "explorer", "map").press(key)
    places = {here, shown("first")}
    part(play, "explorer", "map").press("ArrowRight")
    places.add(shown("first"))
    assert len(places) > 1


def test_every_layer_can_be_seen(play):
    about, chooser = part(play, "explorer", "about"), part(play, "explorer", "view")
    cells = lambda: part(play, "explorer", "cells").get_attribute("href")
    seen = {}
    for k in range(chooser.locator("option").count()):
        chooser.select_option(str(k))
        name = chooser.locator("option").nth(k).inner_text()
        assert about.inner_text().startswith(f"{name}:") and cells().startswith("data:image/png")
        seen[name] = cells()
    assert {"pixels", "untrained", "backprop", "softhebb"} <= set(seen) and len(set(seen.values())) == len(seen)


def test_distances_are_those_of_the_images(play):
    "The pixels' distances in the page are NumPy's correlations of the images in the page."
    import numpy as np
    got = game(play, "explorer").evaluate("""e => {
        const {views, images, distance} = e.explorer
        return {images, top: views[0].top, d: images.map((_, i) => images.map((_, j) => distance(views[0], i, j)))}
    }""")
    assert np.abs(np.array(got["d"]) - (1 - np.corrcoef(got["images"]))).max() < 0.51 / 255 * got["top"]
