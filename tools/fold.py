"""What stands closed on a page of the site (settings.ini names this processor, so every builder does alike): cells that
only test, code that only draws, imports, and exported source, but for what a synapse does and what a teacher says."""
import ast, re

from nbdev.process import Processor

OPTION = re.compile(r"^#\|.*\n?", re.M)
CHECKS = {"assert_close", "assert_allclose", "assert_equal", "assert_frame_equal", "assert_series_equal", "expect_fail"}
# what the package is about: `class Clamp(Teacher)`, `def oja(post, pre, ...)`; read it, it's the lesson
LESSON = re.compile(r"^class \w+\([^)]*(Teacher|Control)\b|^def \w+\((post|pre|v_taught|y, ?x)\w*[,)]"
                    r"|\(self, rule, phases, y\)", re.M)
ERROR = re.compile(r"[A-Z]\w+: ")
DRAWS = re.compile(r"\bplt\.|\bfig\b|\baxes?\b|\.plot\(|\.savefig\(|\.show\(\)")


def called(node) -> str:
    "The name of what a node calls, without what it belongs to."
    function = getattr(node, "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def checks(source: str) -> int:
    "How many assertions a cell has."
    nodes = list(ast.walk(ast.parse(source)))
    return sum(isinstance(n, ast.Assert) or called(n) in CHECKS for n in nodes)


def only_imports(source: str) -> bool:
    body = ast.parse(source).body
    return bool(body) and all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in body)


def says_errors(output: dict) -> bool:
    "Whether an output is only what `expect_fail` says of the errors that had to come."
    text = "".join(output.get("text", [])) if output.get("output_type") == "stream" else ""
    return bool(text) and all(ERROR.match(line) for line in text.splitlines() if line and not line.startswith(" "))


def summary(source: str, outputs: list) -> str | None:
    "What a closed cell is called; None for one that stays open."
    try: found, imports = checks(source), only_imports(source)
    except SyntaxError: return None  # a line for the shell, such as !pip
    if imports: return "Imports"
    picture = any("image/png" in o.get("data", {}) for o in outputs)
    if picture and DRAWS.search(source): return "Code of the figure"
    if found and all(map(says_errors, outputs)): return f"Tests ({found}, all pass)" if found > 1 else "Test (passes)"
    return None


def close(cell, words: str):
    tests = words.startswith("Test")  # messages of errors are read where the cell is: in the notebook
    options = ["code-fold: true", f'code-summary: "{words}"', *["output: false"] * tests]
    cell.source = "".join(f"#| {o}\n" for o in options) + cell.source


class Fold(Processor):
    "Close what a reader can do without at first."

    def end(self):
        for cell in self.nb.cells:
            if cell.cell_type != "code" or not cell.source: continue
            if "exports" in cell.directives_:
                kept = LESSON.search(cell.source)
                if not kept: cell.source = cell.source.replace("code-fold: show", "code-fold: true")
                continue
            words = summary(OPTION.sub("", cell.source), cell.get("outputs", []))
            if words and "code-fold" not in cell.source and "echo: false" not in cell.source:
                close(cell, words)
