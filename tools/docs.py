"""Build the documentation site without Quarto.   python tools/docs.py [--out _docs] [--readme-only]

nbdev turns nbs/ into _proc/ just as `nbdev_docs` would. Then smalldocs reads the same _quarto.yml in place of
`quarto render`. In between, _build/site is a copy of _proc in which the things that Quarto does and smalldocs doesn't
are done here: output-file names, numbers of equations and figures, words for those who can't see a figure, links to
open or download a notebook, and maths from a KaTeX that lies beside the pages, so that the site works offline.
README.md is written here and nowhere else.
"""
import argparse, base64, io, itertools, json, os, re, shutil, struct, subprocess, sys, time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # settings.ini names the renderer tools.show
KATEX = "0.16.11"
FRONT = re.compile(r"^output-file:\s*(\S+)\.html\s*$", re.M)
EQUATION = re.compile(r"\$\$(.+?)\$\$\s*\{#(eq-[\w-]+)\}", re.S)
REFERENCE = re.compile(r"(?<![\w`\[@])@((?:eq|fig)-[\w-]+)")
ROW, CELL = re.compile(r"<tr.*?</tr>", re.S), re.compile(r"<t[hd][^>]*>.*?</t[hd]>", re.S)
FIGURE = re.compile(r"^#\| label: (fig-[\w-]+)", re.M)
CAPTION = re.compile(r"^#\| fig-cap: (.+)$", re.M)
ECHO = re.compile(r"^#\| echo: (\w+)", re.M)
BUTTON = re.compile(r"(?<=\))\{\.btn[^}]*\}")  # what makes a link a button
NOTEBOOK = re.compile(r"\b[\w-]+\.ipynb\b")
FENCE = re.compile(r"^```python\n.*?^```$", re.M | re.S)
PICTURE_FILE = re.compile(r"\]\((?:\.\./)*(images/[^)\s]+)\)")  # what a page opens with
LINKED = re.compile(r"\[`([^`\]]+)`\]\([^()]*\)")
TWICE = re.compile(r"\[\[(`[^`]+`)\]\([^()]*\)\]\(([^()]*)\)")  # nbdev makes a link of a name that is in a link already


def joined(source): return "".join(source) if isinstance(source, list) else source


def named(item):
    "The notebooks that a sidebar entry names, at any depth."
    if isinstance(item, str): return {item} if item.endswith(".ipynb") else set()
    entries = item if isinstance(item, list) else [item.get(key, []) for key in ("href", "file", "section", "contents")]
    return set().union(*map(named, entries))


def check_sidebar(config, nbs):
    "Every notebook is in the sidebar, but for those that only lead to another; and everything in the sidebar is there."
    import yaml
    listed = named(yaml.safe_load(config.read_text(encoding="utf-8"))["website"]["sidebar"])
    # nbdev passes over names that begin with a dot or an underscore
    there = {f.relative_to(nbs).as_posix() for f in nbs.rglob("[!_.]*.ipynb") if ".ipynb_checkpoints" not in f.parts}
    if listed - there: sys.exit(f"_quarto.yml lists notebooks that don't exist: {', '.join(sorted(listed - there))}")
    left_out = sorted(page for page in there - listed if not leads_on(nbs / page))
    if left_out: sys.exit(f"the sidebar of _quarto.yml leaves out {', '.join(left_out)}: add a line for each")


def leads_on(notebook) -> bool:
    "Whether a page has moved, and sends its reader on."
    return 'http-equiv=\\"refresh' in notebook.read_text(encoding="utf-8")


def process():
    "What `nbdev_docs` does before it calls Quarto; returns the processed folder."
    from nbdev import doclinks, quarto, serve
    quarto.refresh_quarto_yml()
    doclinks._build_modidx()
    return serve.proc_nbs(n_workers=1, force=True)


def page_name(path, nb):
    "The name a notebook's page will have: what nbdev put into its front matter."
    front = FRONT.search(joined(nb["cells"][0]["source"])) if nb["cells"] else None
    return (front[1] if front else path.stem) + ".ipynb"


class Numbers:
    "Numbers for the labelled equations and figures of one notebook."

    def __init__(self): self.labels, self.count, self.problems = {}, {"Equation": 0, "Figure": 0}, []

    def next(self, kind, label):
        if label in self.labels: self.problems.append(f"two things are labelled {label}")
        self.count[kind] += 1
        self.labels[label] = f"{kind} {self.count[kind]}"
        return self.count[kind]

    def equations(self, text):
        tag = lambda m: f"[]{{#{m[2]}}}\n\n$${m[1].rstrip()} \\tag{{{self.next('Equation', m[2])}}}$$"
        return EQUATION.sub(tag, text)

    def caption(self, source):
        "The caption with its number."
        if not (label := FIGURE.search(source)): return source
        number = self.next("Figure", label[1])
        return re.sub(r'^(#\| fig-cap: ["\']?)', rf"\1Figure {number}: ", source, flags=re.M)

    def reference(self, match):
        label = match[1]
        if label in self.labels: return f"[{self.labels[label]}](#{label})"
        self.problems.append(f"@{label} refers to nothing on this page")
        return match[0]

    def references(self, text): return REFERENCE.sub(self.reference, text)


def open_links(path, repo, up):
    "A line under the title: where the page's notebook `path` (in nbs/) can be opened, and a copy of it to take away."
    # Colab opens files from GitHub only; docs.yml puts the copies on a branch
    colab = f"https://colab.research.google.com/github/{repo.removeprefix('https://github.com/')}/blob/notebooks/{path}"
    return (f'<p class="open-notebook"><a href="{colab}" title="Its first cell installs bioplaus there">Open in Colab'
            f'</a> · <a href="{up}notebooks/{path}" download>Download this notebook</a></p>')


def add_links(nb, line):
    "Put `line` under the title, after nbdev's rendered promise."
    first = next((n for n, c in enumerate(nb["cells"]) if c["cell_type"] != "raw"), 0)
    source = f"```{{=html}}\n{line}\n```"
    nb["cells"].insert(first, {"cell_type": "markdown", "id": "open-notebook", "metadata": {}, "source": source})


def joined_streams(outputs):
    "Texts that were printed one after the other, as one."
    out = []
    for o in outputs:
        if out and o.get("output_type") == "stream" and out[-1].get("name") == o["name"]:
            out[-1] = {**out[-1], "text": joined(out[-1]["text"]) + joined(o["text"])}
        else: out.append(o)
    return out


def unbroken(text):
    "Numbers that stay in one line with the sign before or the mark behind them."
    return re.sub(r"(?<= [±≤]) | (?=[†✓✗])", "\N{NO-BREAK SPACE}", text)


def aligned(html):
    "A pandas table whose columns of words are marked, to be read from the left, and those of sentences, to get room."
    rows = [[c for c in CELL.findall(row) if c.startswith("<td")] for row in ROW.findall(html)]

    def mark(column):
        if not all(re.search(r">\s*<|[^\W\d_]{3}.*</td>", cell, re.S) for cell in column): return ""
        return "words long" if max(len(re.sub("<[^>]+>", "", cell).strip()) for cell in column) > 40 else "words"
    columns = list(zip(*(row for row in rows if row)))
    marks = dict(enumerate(map(mark, columns), -len(columns)))  # from the right, where no row names are in the way

    def marked(row):
        if "colspan" in row[0]: return row[0]
        number = itertools.count(-len(CELL.findall(row[0])))

        def cell(match):
            kind = marks.get(next(number))
            return re.sub(r"^<(t[hd])>", rf'<\1 class="{kind}">', match[0]) if kind else match[0]
        return CELL.sub(cell, row[0])
    return ROW.sub(marked, html)


def lighter(png):
    "A large picture with 256 colours, in base64: a third of the weight, and hardly another look."
    from PIL import Image
    text = joined(png)
    if len(text) < 100_000: return png
    small, picture = io.BytesIO(), Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return min(text, base64.b64encode(small.getvalue()).decode(), key=len)


def shown(data, links):
    "One output with links, numbers in one line, and pictures that are light, in place."
    if "image/png" in data: data["image/png"] = lighter(data["image/png"])
    if "text/markdown" in data:
        text = unbroken(links(joined(data["text/markdown"])))
        # nbdev makes links in signatures too
        data["text/markdown"] = FENCE.sub(lambda m: LINKED.sub(r"\1", m[0]), text)
    if "text/html" in data: data["text/html"] = unbroken(aligned(joined(data["text/html"])))


def resolve(nb, links):
    "Links, numbers and captions of one processed notebook, in place; returns what is wrong with them."
    numbers, markdown = Numbers(), [c for c in nb["cells"] if c["cell_type"] == "markdown"]
    for c in nb["cells"]:
        source = joined(c["source"])
        if c["cell_type"] == "raw": source = re.sub(r"^output-file:.*\n", "", source, flags=re.M)
        if c["cell_type"] == "markdown": source = numbers.equations(links(source))
        if c["cell_type"] == "code":
            source, c["outputs"] = numbers.caption(source), joined_streams(c.get("outputs", []))
            for o in c["outputs"]: shown(o.get("data", {}), links)
        c["source"] = source
    for c in markdown: c["source"] = numbers.references(c["source"])
    nb["metadata"].pop("widgets", None)
    return numbers.problems


def stage(proc, dest, base, repo):
    "Copy `proc` to `dest` with names, links and numbers resolved; returns what is wrong."
    # `base` and `repo` are the addresses of site and repository
    problems = []
    shutil.rmtree(dest, ignore_errors=True)
    shutil.copytree(proc, dest, ignore=shutil.ignore_patterns("*.ipynb", "_docs"))
    nbs = {f: json.loads(f.read_text(encoding="utf-8")) for f in sorted(proc.rglob("*.ipynb"))}
    names = {f.name: page_name(f, nb) for f, nb in nbs.items()}
    rename = lambda text: NOTEBOOK.sub(lambda m: names.get(m[0], m[0]), TWICE.sub(r"[\1](\2)", text))
    for f, nb in nbs.items():
        # nbdev links to the published site; here the pages are side by side, or in a folder below
        up = "../" * (len(f.relative_to(proc).parts) - 1)
        problems += [f"{f.name}: {p}" for p in resolve(nb, lambda text, up=up: rename(text.replace(base, up)))]
        add_links(nb, open_links(f.relative_to(proc).as_posix(), repo, up))
        target = dest / f.relative_to(proc).with_name(names[f.name])
        target.write_text(json.dumps(nb, ensure_ascii=False), encoding="utf-8")
    for y in dest.glob("*.yml"): y.write_text(rename(y.read_text(encoding="utf-8")), encoding="utf-8")
    return problems


def as_text(output):
    "What an output says, as Markdown if it can; nothing for a picture alone."
    data = output.get("data", {})
    return joined(output.get("text", data.get("text/markdown", data.get("text/plain", ""))))


def readme_cell(cell, base):
    "One cell of the index notebook as Markdown, or None where it is hidden."
    source = joined(cell["source"]).strip()
    if cell["cell_type"] == "markdown":
        source = re.sub(r"\]\(([\w-]+/)?(?:\d+[^\W_]*_)?([\w-]+)\.ipynb(#[\w-]+)?\)", rf"]({base}\1\2.html\3)", source)
        source = BUTTON.sub("", source)
        return re.sub(r"\]\((images/[^)]+)\)", r"](nbs/\1)", source)
    if re.match(r"#\|\s*(hide|default_exp)", source): return None
    caption, echo = CAPTION.search(source), ECHO.search(source)
    source = re.sub(r"^#\|.*\n", "", source, flags=re.M)  # notes to nbdev and Quarto, not to readers
    texts = [as_text(o) for o in cell.get("outputs", [])]
    parts = [f"```\n{t.rstrip()}\n```" for t in texts if t and not t.startswith("<Figure")]
    for data in (o.get("data", {}) for o in cell.get("outputs", [])):
        if "image/png" in data: parts.append(readme_figure(joined(data["image/png"]), json.loads(caption[1])))
    shown = [] if echo and echo[1] == "false" else [f"```python\n{source}\n```"]
    return "\n\n".join([*shown, *parts])


def readme_figure(image, caption):
    "The landing page's figure as a file beside the notebooks, and a link to it."
    (ROOT / "nbs" / "landing.png").write_bytes(base64.b64decode(image))
    return f"![{caption}](nbs/landing.png)"


def write_readme(base):
    "README.md from the index notebook; touched at every build, so that `nbdev_docs` finds it new and leaves it alone."
    nb = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))
    parts = ["<!-- made from nbs/index.ipynb by tools/docs.py: edit the notebook -->"]
    parts += [p for p in (readme_cell(c, base) for c in nb["cells"]) if p]
    (ROOT / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def npm_package(name, version):
    "The folder of an npm package, fetched once; kept in _build for the next time."
    cache = ROOT / "_build" / f"{name}-{version}"
    if not cache.exists():
        if not shutil.which("npm"): sys.exit(f"npm is needed once, to fetch {name}: install Node.js")
        fresh = cache.with_suffix(".part")
        fresh.mkdir(parents=True, exist_ok=True)
        pack = [shutil.which("npm"), "pack", f"{name}@{version}", "--silent"]
        subprocess.run(pack, cwd=fresh, check=True, stdout=subprocess.DEVNULL)
        shutil.unpack_archive(next(fresh.glob("*.tgz")), fresh, "gztar")
        fresh.rename(cache)
    return cache / "package"


def add_katex(libs):
    "Put KaTeX beside the pages."
    source, dest = npm_package("katex", KATEX) / "dist", libs / "katex"
    (dest / "contrib").mkdir(parents=True, exist_ok=True)
    for name in ("katex.min.css", "katex.min.js", "contrib/auto-render.min.js"): shutil.copy(source / name, dest / name)
    older = shutil.ignore_patterns("*.ttf", "*.woff")
    shutil.copytree(source / "fonts", dest / "fonts", ignore=older, dirs_exist_ok=True)


def in_colab(nb, repo):
    "The notebook with a first cell for Colab, which installs the package, with the tables that pages show."
    # from the repository, until there is a release; `bioplaus` alone, then
    source = f'import sys\nif "google.colab" in sys.modules:\n    %pip install -q git+{repo}'
    first = {"cell_type": "code", "id": "colab", "metadata": {}, "execution_count": None, "outputs": [],
             "source": source}
    return {**nb, "cells": [first, *nb["cells"]]}


def on_the_site(nb, base):
    "The notebook with its pictures taken from the site, where they lie when no clone is around it."
    shown = lambda c: c | {"source": [PICTURE_FILE.sub(rf"]({base}\1)", line) for line in c["source"]]}
    return {**nb, "cells": [shown(c) if c["cell_type"] == "markdown" else c for c in nb["cells"]]}


def add_notebooks(dest, base, repo):
    "Copies of all notebooks beside the pages, to download and for Colab."
    for f in (ROOT / "nbs").rglob("[!_.]*.ipynb"):
        if ".ipynb_checkpoints" in f.parts: continue
        path = f.relative_to(ROOT / "nbs")
        (dest / path).parent.mkdir(parents=True, exist_ok=True)
        nb = on_the_site(json.loads(f.read_text(encoding="utf-8")), base)
        nb = in_colab(nb, repo)
        (dest / path).write_text(json.dumps(nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# what smalldocs leaves unsaid to those who listen: an unnamed toggle, links that act as buttons, several navigations
# without names
NAMED = [
    ('<i class="bi bi-github" role="img">', '<i class="bi bi-github" aria-hidden="true">'),
    ('role="navigation" aria-expanded', 'role="button" aria-expanded'),
    ('<a class="sidebar-item-text sidebar-link text-start" data-bs-toggle',
     '<a class="sidebar-item-text sidebar-link text-start" tabindex="0" data-bs-toggle'),
    ('<a class="sidebar-item-toggle text-start"', '<a class="sidebar-item-toggle text-start" tabindex="0"'),
    ('title="Toggle dark mode"', 'title="Toggle dark mode" aria-label="Toggle dark mode" role="button"'),
    ('<nav class="navbar ', '<nav aria-label="Site" class="navbar '),
    ('<nav class="quarto-secondary-nav"', '<nav aria-label="Here" class="quarto-secondary-nav"'),
    ('<nav id="quarto-sidebar"', '<nav aria-label="Pages" id="quarto-sidebar"'),
    ('<nav id="TOC"', '<nav aria-label="On this page" id="TOC"'),
    ('<nav class="page-navigation"', '<nav aria-label="Next and previous page" class="page-navigation"'),
]
# what scrolls sideways can be reached and scrolled from the keyboard, and is seen to go on: styles.css fades its edge
REACHABLE = """<script>(() => {
const wide =
  "main :is(pre, pre code, table, figure, .cell-output-display, .cell-output-markdown, .katex-display)";
const goesOn = e => e.classList.toggle("goes-on", e.scrollWidth - e.clientWidth - e.scrollLeft > 2);
const reach = () => document.querySelectorAll(wide).forEach(e => {
  const scrolls = e.scrollWidth > e.clientWidth + 1 && /auto|scroll/.test(getComputedStyle(e).overflowX);
  if (!scrolls) return e.classList.remove("goes-on");
  if (!e.hasAttribute("tabindex")) e.addEventListener("scroll", () => goesOn(e), {passive: true});
  e.tabIndex = 0;
  goesOn(e);
});
addEventListener("load", reach); addEventListener("resize", reach); addEventListener("toggle", reach, true);
})();</script>"""
# the list of pages shows where one is: at once, and on a phone when it is opened
HERE = """<script>(() => {
const list = document.querySelector("#quarto-sidebar"), here = list?.querySelector("[aria-current=page], .active");
if (!here) return;
const show = () => {
  const [box, line] = [list.getBoundingClientRect(), here.getBoundingClientRect()];
  if (line.height && (line.top < box.top || line.bottom > Math.min(box.bottom, innerHeight)))
    list.scrollTop += line.top - box.top - box.height / 2;
};
addEventListener("load", show);
new MutationObserver(() => setTimeout(show, 400)).observe(list, {attributes: true, attributeFilter: ["class"]});
})();</script>"""


CODE = re.compile(r'(<code class="sourceCode[^"]*">)(.*?)(</code>)', re.S)


def in_lines(match):
    "Highlighted code with an element for each line that knows its indentation, so that what is wrapped hangs below it."
    def one(line, opened):
        plain = re.sub(r"<[^>]*>", "", line)
        indent = len(plain) - len(plain.lstrip(" "))
        return f'<span class="line" style="--indent:{indent}ch">{opened}{line}{"</span>" * len(spans)}</span>'
    spans, lines = [], []
    for line in match[2].split("\n"):
        opened = "".join(spans)
        for tag in re.findall(r"<span[^>]*>|</span>", line): spans.append(tag) if tag != "</span>" else spans.pop()
        lines.append(one(line, opened))
    return match[1] + "\n".join(lines) + match[3]


MESSAGE = re.compile(r"<pre><code>(?=[A-Z]\w+: )")
PICTURE = re.compile(r'<img (?=[^>]*src="data:image/png;base64,([^"]+))(?=[^>]*>(.{0,900}))', re.S)


def is_chart(png, words):
    "Whether a picture is lines or bars on white, to be turned round in the dark; not if `words` say dark or bright."
    from PIL import Image
    if re.search(r"\b(dark|bright|black|white)", words): return False
    small = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return bool((small > 250).all(1).mean() > 0.7)


def marked(match):
    "Charts get a class; so does a large or wide picture, and the least width at which it can be read: a phone scrolls."
    png, words = base64.b64decode(match[1]), match.string[match.start():match.end(2)].replace(match[1], "")
    width, height = struct.unpack(">II", png[16:24])
    wide = width >= 700 or width > 2.5 * height
    kinds = ["wide"] * wide + ["chart"] * is_chart(png, words)
    least = f' style="--least: {0.7 * width:.0f}px"' if wide else ""
    return f'<img class="{" ".join(kinds)}"{least} ' if kinds else match[0]


def finish(out):
    "In every page: names for screen readers, reach for the keyboard, code in lines, marks, and KaTeX where it lies."
    for page in out.rglob("*.html"):
        text, up = page.read_text(encoding="utf-8"), "../" * (len(page.relative_to(out).parts) - 1)
        # as every address on the page, relative to its folder
        text = text.replace('="site_libs/katex', f'="{up}site_libs/katex')
        for old, new in [*NAMED, ("</body>", f"{REACHABLE}{HERE}</body>")]: text = text.replace(old, new)
        text = MESSAGE.sub('<pre class="message"><code>', PICTURE.sub(marked, CODE.sub(in_lines, text)))
        page.write_text(text, encoding="utf-8")


def replace(site, out):
    "Put the new site in the place of an old one, and of nothing else."
    if out.exists() and any(out.iterdir()) and not (out / "search.json").exists():
        sys.exit(f"{out} is in use, and not by a site: name another folder, or empty it")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(site, out)


def build(source, out, base, repo):
    "Render the staged notebooks into `out`, which will be at `base`; returns smalldocs' warnings."
    from smalldocs import layout
    from smalldocs.site import build
    layout.KATEX = "site_libs/katex"
    site = build(source, quiet=True)
    add_katex(site.out / "site_libs")
    add_notebooks(site.out / "notebooks", base, repo)
    shutil.copy(ROOT / "nbs" / "social-card.png", site.out)  # only its address is in the pages
    finish(site.out)
    # the themes ask a font server for a font; styles.css names local ones
    for css in site.out.glob("site_libs/themes/*.css"):
        css.write_text(re.sub(r"@import\s*url\([^)]*\);?", "", css.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copy(ROOT / "tools" / "search.js", site.out / "site_libs" / "fuse" / "fuse.min.js")
    replace(site.out, out)
    return [w for w in site.warnings if "html-math-method is ignored" not in w]  # maths is drawn by KaTeX in any case


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default="_docs", help="where the site shall be")
    p.add_argument("--readme-only", action="store_true", help="write README.md and stop")
    a = p.parse_args()
    os.chdir(ROOT)
    start = time.time()
    from nbdev.config import get_config
    cfg = get_config()
    base = f"{cfg.doc_host}{cfg.doc_baseurl}/"
    check_sidebar(ROOT / "_quarto.yml", ROOT / "nbs")
    write_readme(base)
    if a.readme_only: return 0
    warnings = stage(process(), ROOT / "_build" / "site", base, cfg.git_url)
    warnings += build(ROOT / "_build" / "site", ROOT / a.out, base, cfg.git_url)
    for w in warnings: print("warning:", w, file=sys.stderr)
    print(f"{len(list((ROOT / a.out).rglob('*.html')))} pages in {a.out}, {time.time() - start:.1f} s")
    return 1 if warnings else 0


if __name__ == "__main__": sys.exit(main())
