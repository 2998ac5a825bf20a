"""How a function is shown on the site: signature, docstring, and its arguments as a table (settings.ini names this renderer)."""
import inspect

from fastcore.docments import docments, sig2str
from nbdev.showdoc import BasicMarkdownRenderer


def text(value):
    "A cell of the table: empty for nothing, and with unions like `float | None` kept from looking like another column."
    if value is None or value is inspect.Parameter.empty: return ""
    name = value.__name__ if inspect.isclass(value) else str(value)
    return name.replace("collections.abc.", "").replace("|", "\\|").replace("\n", " ")


def arguments(symbol):
    "The documented arguments of `symbol` as a Markdown table, or nothing if it has none."
    known = {n: d for n, d in docments(symbol, full=True).items() if n != "self"}
    if not any(d.docment or d.anno is not inspect.Parameter.empty for d in known.values()): return ""
    required = lambda n, d: d.default is inspect.Parameter.empty
    default = lambda n, d: "" if required(n, d) else f"`{d.default!r}`".replace("|", "\\|")
    rows = [f"| {'**Returns**' if n == 'return' else f'`{n}`'} | {text(d.anno)} | {default(n, d)} | {text(d.docment)} |" for n, d in known.items()]
    return "\n".join(["| | type | default | |", "|---|---|---|---|", *rows])


class DocsTable(BasicMarkdownRenderer):
    "Heading and link as nbdev writes them, then the signature alone, then the documented arguments."

    def _repr_markdown_(self):
        heading = super()._repr_markdown_().split("```python")[0]
        signature = f"```python\n{sig2str(self.sym)}\n```"
        return "\n\n".join([heading + signature, self.docs or "", arguments(self.sym)])
