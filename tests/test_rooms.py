"""The order of the rooms: numbers are unique and ascend along every import, and the sidebar is file order.
And the page that says where things are speaks of the rooms that there are, and of what they hold."""
import ast, importlib, json, re
from pathlib import Path

import pytest, yaml

ROOT = Path(__file__).parent.parent
PAGES = sorted(f.stem for f in (ROOT / "nbs").glob("[0-9]*.ipynb"))
ROOMS = [page for page in PAGES if page < "98"]  # then come redirects
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
          for line, other in imported(file) if other != file.stem and MODULES[other] >= MODULES[file.stem]]
    assert not up, up


def test_the_sidebar_is_in_file_order():
    sidebar = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]["sidebar"]["contents"]
    listed = re.findall(r"'(\d\w+_\w+)\.ipynb'", repr(sidebar))
    assert [page for page in listed if page in PAGES] == ROOMS


GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
INDEX = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]
PLACES = [line for line in GUIDE.splitlines() if re.match(r"\| .*\]\(nbs/", line)]  # rows of "Where is ..."


def test_the_picture_of_the_rooms_shows_all_of_them_and_is_the_same_on_both_pages():
    picture, = re.findall(r"^```\n( 0 .*?)^```", GUIDE, re.M | re.S)
    assert re.findall(r"\b(\d\d[a-z]? \w+)", picture) == [room.replace("_", " ") for room in ROOMS]
    assert sum(picture in "".join(cell["source"]) for cell in INDEX) == 1


def holds(module, name):
    "Whether a module defines a name itself; of a class, whether it has this attribute."
    text = (ROOT / "bioplaus" / f"{module}.py").read_text(encoding="utf-8")
    first, *rest = name.split(".")
    if not re.search(rf"^(def |class |){first}\b( =|: |\(|:)", text, re.M): return False
    return not rest or hasattr(getattr(importlib.import_module(f"bioplaus.{module}"), first), *rest)


@pytest.mark.parametrize("row", PLACES, ids=lambda row: row.split("|")[1].strip())
def test_a_thing_is_where_the_guide_says(row):
    notebooks = re.findall(r"\[(\w+)\]\(nbs/\1\.ipynb\)", row)
    assert notebooks and set(notebooks) <= set(ROOMS)
    for name in re.findall(r"`([\w.]+)`", row.split("|")[3]):
        assert any(holds(module, name) for module, notebook in MODULES.items() if notebook in notebooks), name


def test_every_room_is_the_place_of_something():
    assert set(re.findall(r"nbs/(\w+)\.ipynb", "".join(PLACES))) == set(ROOMS)
