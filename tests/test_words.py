"""Links from a page's words to the glossary (tools/words.py)."""
from tools.words import glossary, linked, names


def test_the_glossary_is_read():
    found = glossary()
    assert {"nudge", "Holm", "TOST", "BCa", "SSA", "Jacobian", "Gauss–Newton", "permutation test"} <= set(found)
    heading, said = found["SSA"]
    assert heading == "credit-assignment" and said.startswith("Single-step")
    assert not any('"' in meaning for _, meaning in found.values())
    assert names("dendrite; basal, apical") == ["dendrite", "basal", "apical"] and names("activity, rate") == []


def test_the_first_use_is_linked_and_no_other():
    left = {"nudge": ("rules", "a small push"), "SSA": ("credit", "at once")}
    text = ("A `nudge`, *nudge*, $nudge$, [a nudge](b.ipynb).\n# Nudge\n| nudge |\n"
            "Nudge it. Then nudge with SSA-like SSA.")
    found = linked(text, left, "91_glossary.ipynb")
    first, second = '[Nudge](91_glossary.ipynb#rules "a small push") it', '[SSA](91_glossary.ipynb#credit "at once").'
    assert found == text.replace("Nudge it", first).replace("SSA.", second) and not left
    assert linked("nudge", left, "x") == "nudge"  # on the next cell nothing is left to link


def test_words_inside_of_a_meaning_are_no_links():
    left = {"nudge": ("a", "as settle does"), "settle": ("b", "as nudge does")}
    assert linked("nudge", left, "g") == '[nudge](g#a "as settle does")' and set(left) == {"settle"}


def test_an_argument_is_no_link_to_a_function_of_its_name():
    "Its own names keep theirs: those that stand for nothing else, calls, and links that somebody wrote."
    from tools.names import ambiguous, unlinked
    site = "https://bioplaus.github.io"
    link = lambda name, page: f"[`{name}`]({site}/bioplaus/{page}.html#{name.rstrip('()')})"
    assert {"label", "mean", "drawn", "study"} <= ambiguous() and not {"fit", "load_task"} & ambiguous()
    text = f"The column {link('label', 'training')}, by {link('fit', 'training')} or {link('label()', 'training')}."
    assert unlinked(text, site) == text.replace(link("label", "training"), "`label`")
    assert unlinked("[`label`](22_training.ipynb)", site) == "[`label`](22_training.ipynb)"
