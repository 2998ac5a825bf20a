"""The order of the rooms: numbers are unique and ascend along every import, and the sidebar is file order."""
import ast, re
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PAGES = sorted(f.stem for f in (ROOT / "nbs").glob("[0-9]*.ipynb"))
MODULES = {}  # module -> place of its notebook
for module in sorted((ROOT / "bioplaus").glob("[a-z]*.py")):
    notebook = re.search(r"File to edit: \.\./nbs/([\w-]+)\.ipynb", module.read_text(encoding="utf-8"))
    MODULES[module.stem] = notebook[1]


def imported(file):
    "(line, module of this package) of every import in a file, lazily imported ones included."
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [a.name for a in node.names]
            names = [n.removeprefix("bioplaus.") for n in names if node.level or n.startswith("bioplaus")]
        else:
            names = [a.name.removeprefix("bioplaus.") for a in getattr(node, "names", ())
                     if isinstance(node, ast.Import) and a.name.startswith("bioplaus.")]
        for name in names:
            if name.split(".")[0] in MODULES: yield node.lineno, name.split(".")[0]


def test_every_room_has_a_number_of_its_own():
    numbers = [page.split("_")[0] for page in PAGES]
    assert len(set(numbers)) == len(numbers), [n for n in numbers if numbers.count(n) > 1]


def test_a_room_imports_from_lower_numbers_only():
    up = [f"{file.stem}:{line} imports {other}" for file in (ROOT / "bioplaus").glob("[a-z]*.py")
          for line, other in imported(file) if MODULES[other] >= MODULES[file.stem]]
    assert not up, up


def test_the_sidebar_is_in_file_order():
    sidebar = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    listed = re.findall(r"'(\d\w+_\w+)\.ipynb'", repr(sidebar))
    assert [page for page in listed if page in PAGES] == [page for page in PAGES if page < "98"]  # then come redirects
