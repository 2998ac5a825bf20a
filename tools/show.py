"""How the site shows a function: signature, docstring, arguments as a table (settings.ini names this renderer)."""
import inspect, re
from importlib import import_module

from fastcore.docments import docments, sig2str
from nbdev.showdoc import BasicMarkdownRenderer

MODULES = re.compile(r"(?<![\w.])(?:[a-z_]+\.)+(?=[A-Z]\w*(?:[\s|,\]\[=)]|$))")  # before the name of a type
WIDTH = 76  # characters that a page shows in one line


def exported(symbol):
    "A class as the package has it: Python finds no source, and so no comments, for one defined in a notebook cell."
    if not inspect.isclass(symbol): return symbol
    from bioplaus._modidx import d
    homes = [module for module, names in d["syms"].items() if f"{module}.{symbol.__qualname__}" in names]
    return getattr(import_module(homes[0]), symbol.__qualname__, symbol) if homes else symbol


def signature(symbol):
    "As `sig2str` writes it, but a class is a class."
    shown = re.sub(r":(Annotated|NoneType)\b", "", MODULES.sub("", str(sig2str(symbol))))
    if inspect.isclass(symbol): shown = re.sub(r"->None:$", ":", shown.replace("def ", "class ", 1))
    short = re.sub(r"\s*\n\s*", " ", shown).replace("( ", "(").replace(" )", ")")
    return short if len(short) <= WIDTH else shown


def text(value):
    "A cell of the table: empty for nothing, and with unions like `float | None` kept from looking like another column."
    if value in (None, type(None)) or value is inspect.Parameter.empty: return ""
    if hasattr(value, "__metadata__"): value = getattr(value, "__origin__", value)  # an option of the command line
    name = value.__name__ if inspect.isclass(value) and not hasattr(value, "__args__") else str(value)
    name = re.sub(r"^typing.Optional\[(.*)\]$", r"\1 | None", name)
    return MODULES.sub("", name).replace("|", "\\|").replace("\n", " ")


def arguments(symbol):
    "The documented arguments of `symbol` as a Markdown table, or nothing if it has none."
    known = {n: d for n, d in docments(symbol, full=True).items()
             if n != "self" and not (n == "return" and text(d.anno) == "")}
    if not any(d.docment or d.anno is not inspect.Parameter.empty for d in known.values()): return ""
    rows = []
    for n, d in known.items():
        name = "**Returns**" if n == "return" else f"`{n}`"
        default = "" if d.default is inspect.Parameter.empty else f"`{d.default!r}`".replace("|", "\\|")
        words = d.docment or next((getattr(m, "help", None) for m in getattr(d.anno, "__metadata__", ())), None)
        rows.append(f"| {name} | {text(d.anno)} | {default} | {text(words)} |")
    table = "\n".join(["| | type | default | |", "|---|---|---|---|", *rows])
    return f'<details class="arguments"><summary>Arguments</summary>\n\n{table}\n\n</details>'


class DocsTable(BasicMarkdownRenderer):
    "Heading and link as nbdev writes them, then the signature alone, then the documented arguments."

    def _repr_markdown_(self):
        heading = super()._repr_markdown_().split("```python")[0]
        symbol = exported(self.sym)
        # for a function without a docstring, fastcore finds that of its type: "Call self as a function."
        docs = self.docs if inspect.isclass(symbol) or getattr(symbol, "__doc__", None) else ""
        return "\n\n".join([f"{heading}```python\n{signature(symbol)}\n```", docs or "", arguments(symbol)])
