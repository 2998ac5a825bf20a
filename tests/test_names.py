"""Every public name of the release before can still be had from the module that had it; one that has moved says where
it is now (`tests/data/names.json`: the names of all `__all__`s at commit cde4476)."""
import importlib, json, warnings
from pathlib import Path

import pytest

NAMES = json.loads((Path(__file__).parent / "data" / "names.json").read_text(encoding="utf-8"))
GONE = {("network", "LARGE"): "products.choose_ways"}  # a bound that measuring took the place of


@pytest.mark.parametrize("module", NAMES)
def test_an_old_name_is_where_it_was_or_says_where_it_is(module):
    for name in NAMES[module]:
        if (module, name) in GONE:
            with pytest.raises(AttributeError, match=f"is gone; now there is {GONE[module, name]}"):
                getattr(importlib.import_module(f"bioplaus.{module}"), name)
            continue
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = getattr(importlib.import_module(f"bioplaus.{module}"), name)
        for warning in said:
            if issubclass(warning.category, FutureWarning):
                assert "has moved" in str(warning.message) and "import it from there" in str(warning.message)
        assert found is not None
