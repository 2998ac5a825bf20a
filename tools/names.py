"""A name in code that may as well be a parameter, an option or a column gets no link (settings.ini names this, too).

nbdev links `label` wherever it stands to `bioplaus.training.label`, the function, though the page may speak of an
argument. Who means the function writes `label()`.
"""
import ast, re
from functools import cache
from pathlib import Path

from nbdev.config import get_config
from nbdev.process import Processor


@cache
def ambiguous() -> frozenset[str]:
    "Single words that name a function of the package, and arguments or fields, too, somewhere in it."
    functions, other = set(), set()
    for file in Path(get_config().lib_path).glob("[!_]*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        functions |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        for n in ast.walk(tree):
            if isinstance(n, ast.arg): other.add(n.arg)
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name): other.add(n.target.id)
    return frozenset(name for name in functions & other if "_" not in name)


def unlinked(text: str, site: str) -> str:
    "`text` without nbdev's links, which lead to `site`, behind names that are ambiguous."
    link = re.compile(rf"\[(`(\w+)`)\]\({re.escape(site)}[^)]*\)")
    return link.sub(lambda m: m[1] if m[2] in ambiguous() else m[0], text)


class Names(Processor):
    "Take back links that nbdev has made of words."

    def end(self):
        site = get_config().doc_host
        for cell in self.nb.cells:
            if cell.cell_type == "markdown" and cell.source: cell.source = unlinked(cell.source, site)
            for data in (o.get("data", {}) for o in cell.get("outputs", [])):
                if "text/markdown" not in data: continue
                text = data["text/markdown"]
                data["text/markdown"] = unlinked("".join(text) if isinstance(text, list) else text, site)
