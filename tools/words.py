"""Words of the glossary become links with a tooltip where a page first uses them (settings.ini names this too)."""
import json, re
from functools import cache
from pathlib import Path

from nbdev.config import get_config
from nbdev.process import Processor

GLOSSARY = "tutorials/91_glossary.ipynb"
# what people say all the time, and not always in the sense of the glossary
COMMON = {"activity", "rate", "local", "card", "chance", "matched", "plant", "control", "collapse", "severity", "leak",
          "gain", "corruption", "contrastive", "oracle", "clamp", "set point", "teacher", "replica"}
# no word is looked for in code, formulas, links, headings, tables, quotations, HTML, emphasis
KEPT = re.compile(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$|!?\[[^\]]*\]\([^)]*\)|<[^>]*>|^#.*?$|^\|.*?$|^>.*?$"
                  r"|\*[^*\n]+\*|^:::.*?$", re.M | re.S)
ROW = re.compile(r"^\| ([^|]+) \| (.+) \| ([^|]+) \|$")


def names(cell: str) -> list[str]:
    "The words of a glossary's first column that are worth a link."
    plain = re.sub(r"\([^)]*\)|\$[^$]*\$", "", cell)
    found = (word.strip().removeprefix("the ") for word in re.split("[,;]", plain))
    return [word for word in found if len(word) > 2 and word not in COMMON]


@cache
def glossary() -> dict[str, tuple[str, str]]:
    "{word: (heading, what it means, in plain words)}"
    found, heading = {}, ""
    for cell in json.loads((Path(get_config().nbs_path) / GLOSSARY).read_text(encoding="utf-8"))["cells"]:
        for line in cell["source"]:
            if line.startswith("## "): heading = line[3:].strip()
            row = ROW.match(line.strip())
            if row is None or row[1] == "word": continue
            said = re.sub(r"[$*`\"\\]|\[([^\]]*)\]\([^)]*\)", r"\1", row[2]).strip()
            found |= {word: (re.sub(r"\W+", "-", heading.lower()), said) for word in names(row[1])}
    return found


def linked(text: str, left: dict, address: str) -> str:
    "`text` with a link at the first place of each word that is `left`; those that were found are taken out of it."
    def in_plain(plain):
        for word in list(left):
            first = f"[{word[0]}{word[0].upper()}]"  # as a sentence may begin with it
            match = re.search(rf"(?<![\w-]){first}{re.escape(word[1:])}(?![\w-])", plain)
            if match is None: continue
            heading, said = left.pop(word)
            before, after = plain[:match.start()], plain[match.end():]
            return f'{in_plain(before)}[{match[0]}]({address}#{heading} "{said}"){in_plain(after)}'
        return plain

    parts, end = [], 0
    for kept in KEPT.finditer(text):
        parts += [in_plain(text[end:kept.start()]), kept[0]]
        end = kept.end()
    return "".join([*parts, in_plain(text[end:])])


class Words(Processor):
    "Link each word of the glossary where a page first uses it."

    def end(self):
        path = Path(self.nb.path_).resolve().relative_to(Path(get_config().nbs_path).resolve()).as_posix()
        if path == GLOSSARY: return
        address = GLOSSARY.removeprefix("tutorials/") if path.startswith("tutorials/") else GLOSSARY
        left = dict(sorted(glossary().items(), key=lambda item: -len(item[0])))
        for cell in self.nb.cells:
            if cell.cell_type == "markdown" and cell.source and not cell.source.startswith(("---", "```{=html}")):
                cell.source = linked(cell.source, left, address)
