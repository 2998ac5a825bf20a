"A rule of one's own has the same colour in every process, whoever asks first and whatever else is registered later."
import json, subprocess, sys

import pytest

CODE = """
import json, sys
from bioplaus.core import register
for name in {names}: register(name)(lambda net: None)
from bioplaus.plots import style_of
print(json.dumps({{name: style_of(name) for name in {asked}}}))
"""


def styles(names, asked):
    done = subprocess.run([sys.executable, "-c", CODE.format(names=names, asked=asked)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("names", [["mine", "own", "my-hebb"], [f"rule {i}" for i in range(9)]])
def test_a_rule_keeps_its_colour(names):
    few, many = styles(names, names), styles([*names, "a new one", "one more"], ["one more", "unknown", *names[::-1]])
    assert few == {name: many[name] for name in names}
    colours = {style["color"] for style in few.values()}
    assert len(colours) == min(len(names), 6) and "#000000" not in colours
    assert len({tuple(style.values()) for style in many.values()}) == len(many)
