"""The command line: one word for one thing on every command that has it, whatever the spelling; and what a log says."""
import contextlib, fcntl, inspect, io, itertools, json, os, pty, struct, subprocess, sys, termios, time
from pathlib import Path
from unittest.mock import patch

import pytest

from bioplaus import cli, core
from bioplaus.core import BadInput, progress_bar, read_options
from bioplaus.shown import perturbation
from tools.bad_input import command

COMMANDS = {c.name or c.callback.__name__: c.callback for c in cli.app.registered_commands}
SMALL = ("--epochs", "1", "--device", "cpu", "--seeds", "2")


def names_of(command) -> dict[str, tuple]:
    "argument → how the option may be written, as typer reads it."
    found = {}
    for name, p in inspect.signature(command, eval_str=True).parameters.items():
        info = next(iter(getattr(p.annotation, "__metadata__", ())), None)
        written = [getattr(info, "default", None), *(getattr(info, "param_decls", None) or ())]
        found[name] = tuple(w for w in written if isinstance(w, str)) or (f"--{name.replace('_', '-')}",)
    return found


def test_options_of_one_name_are_one_option():
    "Wherever two commands have an argument of the same name, it is written in the same ways."
    training = {n: names_of(COMMANDS[n]) for n in ("train", "study", "search")}
    for one, other in itertools.combinations(training, 2):
        shared = training[one].keys() & training[other].keys() - {"rules", "classes", "out"}
        assert len(shared) >= 19 and all(training[one][n] == training[other][n] for n in shared)
    assert all(inspect.signature(COMMANDS[n]).parameters["hidden"].annotation == cli.Hidden for n in training)


@pytest.mark.parametrize("words", [("--task", "--sizes"), ("--tasks", "--hidden"), *(
    pytest.param(w, marks=pytest.mark.weekly) for w in (("--task", "--hidden"), ("--tasks", "--sizes")))])
def test_every_word_works_on_every_command(words, tmp_path):
    task, layers = words
    net = "64,5,3" if layers == "--sizes" else "5"
    same = (task, "digits", layers, net, "--classes", "3", *SMALL)
    trained = json.loads(command("train", "backprop", *same, "--json").splitlines()[-1])
    assert trained["sizes"] == [64, 5, 3] and trained["task"] == "digits"
    assert "backprop" in command("search", "backprop", *same, "--out", tmp_path / "rates")
    command("study", "--rule", "backprop", *same, "--perturbations", "gaussian:1/10", "--no-report", "--out",
            tmp_path / "s")
    settings = json.loads((tmp_path / "s" / "study.json").read_text())
    assert settings["hidden"] == [5] and settings["tasks"] == ["digits"]


def test_british_and_american():
    spelled = ("--optimizer", "adam", "--normalise", "unit"), ("--optimiser", "adam", "--normalize", "unit")
    said = [json.loads(command("train", "backprop", "--task", "digits", *SMALL, *more, "--json").splitlines()[-1])
            for more in spelled]
    assert said[0]["test_accuracy"] == said[1]["test_accuracy"]


def test_lists_take_commas_and_repetition():
    one = cli.read_names(["digits,mnist:few=10,late=2", "x.csv"])
    wanted = ("digits", "mnist:few=10,late=2", "x.csv")
    assert one == cli.read_names(["digits", "mnist:few=10,late=2", "x.csv"]) == wanted
    many = ("gaussian:0.1", "gaussian:0.2", "fgsm:8/255", "fog@2")
    assert cli.read_levels(["gaussian:0.1,0.2", "fgsm:8/255,fog@2"]) == cli.read_levels([",".join(many)]) == many


def test_a_path_with_commas_is_one_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a,b.csv").touch()
    assert cli.read_names(["a,b.csv"]) == ("a,b.csv",)


@pytest.mark.parametrize("text", ["8/255", "0.031372549019607843", "16/510"])
def test_fractions_are_numbers(text):
    assert core.number(text) == 8 / 255 == perturbation(f"fgsm:{text}").level
    assert cli.read_lr(f"{text},1") == [8 / 255, 1] and read_options(f"a={text},b=(1,{text})")["b"] == (1, 8 / 255)


def test_a_misspelt_option_or_value_is_answered_by_the_near_one():
    for line, near in ((("train", "backprop", "--epoch", "1"), "--epochs"), (("stduy",), "study"),
                       (("train", "bakprop"), "backprop"), (("train", "hebb", "--task", "mnist-mni"), "mnist-mini"),
                       (("train", "hebb", "--task", "digits", "--act", "sigmod"), "sigmoid"),
                       (("train", "hebb", "--task", "digits", "--optimiser", "sdg"), "sgd"),
                       (("study", "--perturb", "gausian:0.3", "--tasks", "digits"), "gaussian")):
        with pytest.raises(BadInput, match=near) as said: command(*line)
        assert "\n" not in str(said.value)


def offered(line: str, shell="bash") -> list[str]:
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_BIOPLAUS_COMPLETE": f"complete_{shell}"}
    with patch.dict(os.environ, asked), contextlib.redirect_stdout(io.StringIO()) as said:
        with pytest.raises(SystemExit): cli.app(prog_name="bioplaus")
    return said.getvalue().split()


def test_bash_completes():
    "Commands, options and names, also the last of a list, and behind an option that is still empty."
    assert offered("bioplaus tra") == ["train"] and "--perturbations" in offered("bioplaus study --pert")
    assert offered("bioplaus study --task digits,fash") == ["digits,fashion-mnist"]
    assert set(offered("bioplaus train ")) == set(core.cards())
    assert set(offered("bioplaus train hebb --net ")) == set(core.NETWORKS.entries()) > {"mlp", "lenet"}


def test_bash_completes_for_real(tmp_path):
    "The script that --show-completion prints, in a bash of its own."
    (tmp_path / "bioplaus").write_text(f"#!/bin/sh\nexec {sys.executable} -m bioplaus.cli \"$@\"\n")
    (tmp_path / "bioplaus").chmod(0o755)
    ask = ("eval \"$(_BIOPLAUS_COMPLETE=source_bash bioplaus)\"; COMP_WORDS=(bioplaus train hebb-c); COMP_CWORD=2; "
           "_bioplaus_completion bioplaus; echo \"${COMPREPLY[@]}\"")
    env = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, env=env)
    assert done.stdout.split() == ["hebb-clamp", "hebb-control"], done.stderr


# ---- progress -------------------------------------------------------------------------------------------------------

def test_a_log_gets_a_line_every_ten_seconds():
    "Not one for each step, and also while nothing moves; nested bars share it."
    with contextlib.redirect_stderr(io.StringIO()) as log, patch.object(core, "EVERY", 0.3):
        with progress_bar(total=4, desc="study", unit="cell") as outer:
            for _ in range(2):
                with progress_bar(total=1000, desc="hebb", unit="step", leave=False) as inner:
                    for _ in range(1000): inner.update()
                    time.sleep(0.5)
                outer.update()
            time.sleep(0.5)
    lines = log.getvalue().splitlines()
    assert 3 <= len(lines) <= 6 and all("study" in line and "\r" not in line for line in lines)
    assert any(line.endswith("hebb 1000/1000 steps") for line in lines) and lines[-1].endswith("study 2/4 cells")


def test_a_terminal_gets_a_bar():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # rows and columns
    code = "from bioplaus.core import progress_bar\nfor _ in progress_bar(range(3), desc='study'): pass"
    subprocess.run([sys.executable, "-c", code], stderr=slave, check=True)
    os.close(slave)
    assert b"study: 100%" in os.read(master, 10_000)


def test_a_study_in_a_log_is_quiet(tmp_path):
    small = ("--rules", "backprop", "--tasks", "digits", "--classes", "2", "--hidden", "5", *SMALL, "--out", tmp_path)
    done = subprocess.run([sys.executable, "-m", "bioplaus.cli", "study", *small], capture_output=True, text=True)
    assert done.returncode == 0 and "\r" not in done.stderr and len(done.stderr.splitlines()) < 20


def test_there_is_one_helper_for_bars():
    users = [f.name for f in (Path(core.__file__).parent).glob("*.py") if "tqdm" in f.read_text(encoding="utf-8")]
    assert users == ["core.py"]
