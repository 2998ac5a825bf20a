"""`RuleClassifier` before scikit-learn's own judge, and in other processes: joblib's workers, and one that reads a
pickle. The checks are run with fewer epochs than by default."""
import pickle, subprocess, sys

import numpy as np, pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from bioplaus.core import RULES
from bioplaus.estimator import RuleClassifier


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule, epochs", [
    ("backprop", 30), *(pytest.param(*few, marks=pytest.mark.weekly) for few in (("fa", 50), ("softhebb", 15)))])
def test_scikit_learns_own_checks_pass(rule, epochs):
    told = check_estimator(RuleClassifier(rule, epochs=epochs), on_fail=None, on_skip=None)
    assert len(told) > 40 and not [(t["check_name"], t["exception"]) for t in told if t["status"] == "failed"]


SCRIPT = '''
import pickle, sys
from bioplaus.core import register
from bioplaus.estimator import RuleClassifier
from bioplaus.rule import Backprop, Delta, Rule
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score

SLOWER = 0.5  # what the rule needs of this script

@register("of-a-script", lr=0.2)
def of_a_script(net):
    "Delta, at half the pace."
    return Rule(net, Backprop(), lambda drive, pre_taught: SLOWER * Delta()(drive, pre_taught))

if __name__ == "__main__":
    X, y = load_iris(return_X_y=True)
    model = RuleClassifier("of-a-script", (9,), epochs=20, random_state=0)
    print(cross_val_score(model, X, y, cv=3, n_jobs=2, error_score="raise").tolist())
    with open(sys.argv[1], "wb") as f: pickle.dump(model.fit(X, y), f)
    print(model.decision_function(X[::50]).tolist())
'''


def test_a_rule_of_a_script_goes_to_workers_and_into_a_pickle(tmp_path):
    script, file = tmp_path / "script.py", tmp_path / "model.pickle"
    script.write_text(SCRIPT)
    said = subprocess.run([sys.executable, script, file], capture_output=True, text=True, check=True).stdout
    scores, logits = map(eval, said.splitlines()[-2:])
    assert len(scores) == 3 and min(scores) > 0.5
    assert "of-a-script" not in RULES
    try:
        model = pickle.loads(file.read_bytes())
        assert np.array_equal(model.decision_function(load_iris().data[::50]), logits)
    finally: RULES.mine.pop("of-a-script", None)


def test_a_pickle_holds_arrays_and_no_code_of_this_package(tmp_path):
    X, y = load_iris(return_X_y=True)
    for rule in ("softhebb", "bcm", "dfc-ssa"):  # an activation made on the spot; a sliding threshold; a teacher
        model = RuleClassifier(rule, (9,), epochs=2, random_state=0).fit(X, y)
        stored = pickle.dumps(model)
        assert b"lambda" not in stored and b"cloudpickle" not in stored
        again = pickle.loads(stored)
        assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.history_.equals(model.history_)


def test_a_grid_finds_what_each_candidate_scores():
    X, y = load_iris(return_X_y=True)
    candidates = {"rule": ["fa", "frozen"], "hidden": [5, (8, 6)]}
    found = GridSearchCV(RuleClassifier(epochs=20, random_state=0), candidates, cv=2).fit(X, y).cv_results_
    for params, score in zip(found["params"], found["mean_test_score"]):
        alone = cross_val_score(RuleClassifier(epochs=20, random_state=0, **params), X, y, cv=2)
        assert alone.mean() == pytest.approx(score, abs=1e-12)
