"""How a function is shown on the site: signature, docstring, and its arguments as a table (settings.ini names this renderer)."""
from fastcore.docments import DocmentTbl, sig2str
from nbdev.showdoc import BasicMarkdownRenderer


class DocsTable(BasicMarkdownRenderer):
    "Heading and link as nbdev writes them, then the signature alone, then the documented arguments."

    def _repr_markdown_(self):
        heading = super()._repr_markdown_().split("```python")[0]
        signature = f"```python\n{sig2str(self.sym)}\n```"
        return "\n\n".join([heading + signature, self.docs or "", DocmentTbl(self.sym)._repr_markdown_()])
