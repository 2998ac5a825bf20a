"""What a page keeps closed (tools/fold.py), cell by cell."""
import pytest

from tools.fold import LESSON, checks, summary

PICTURE = [{"output_type": "display_data", "data": {"image/png": "…"}}]
ERRORS = [{"output_type": "stream", "text": ["BadInput: 3 was given.\n", "ValueError: no\n"]}]
PRINTED = [{"output_type": "stream", "text": ["0.5 right\n"]}]


@pytest.mark.parametrize("source, outputs, words", [
    ("import torch\nfrom a import b", [], "Imports"),
    ("a = f()\nassert a == 1\nassert_close(a, 1)", [], "Tests (2, all pass)"),
    ("assert f()", [], "Test (passes)"),
    ("with expect_fail(BadInput): f()\nassert g()", ERRORS, "Tests (2, all pass)"),
    ("print(f())\nassert f() > 0", PRINTED, None),           # an example that also checks
    ("plt.plot(x)\nplt.show()", PICTURE, "Code of the figure"),
    ("compare(rules)", PICTURE, None),                        # the call is the lesson
    ("rule = make_rule('fa', net)", [], None),
    ("!pip install bioplaus", [], None),
])
def test_what_is_folded(source, outputs, words): assert summary(source, outputs) == words


def test_checks_inside_of_blocks_count():
    assert checks("for a in b:\n    assert a\n    torch.testing.assert_close(a, c)\nraises(E)") == 2


@pytest.mark.parametrize("source, kept", [
    ("def oja(post_taught, pre_taught, W):\n    pass", True), ("class Clamp(Teacher):\n    pass", True),
    ("class Clamp:\n    def __call__(self, rule, phases, y): pass", True),
    ("def load(path):\n    pass", False), ("class Study(Recipe):\n    pass", False)])
def test_what_a_synapse_does_stays_open(source, kept): assert bool(LESSON.search(source)) == kept
