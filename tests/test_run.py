"""``python -m fastmlp run``: an unchanged program runs as with Python, with these classes."""

import runpy
import subprocess
import sys
import zipfile

import pytest
import sklearn.neural_network

import fastmlp
from fastmlp.__main__ import main

LINE = "fastmlp: sklearn.neural_network has fastmlp's MLPClassifier and MLPRegressor.\n"

#: What scikit-learn's examples of these networks are about, without their pictures: strengths of
#: the penalty, strategies of stochastic optimisers, and the weights that a first layer learns.
EXAMPLES = """
import warnings

import numpy as np
from sklearn.datasets import load_digits, load_iris, make_circles, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

warnings.simplefilter("ignore", ConvergenceWarning)


def penalties():
    for name, make in (("moons", make_moons), ("circles", make_circles)):
        X, y = make(100, noise=0.2, random_state=0)
        X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=42)
        for alpha in np.logspace(-1, 1, 3):
            network = MLPClassifier(
                (10, 10), solver="lbfgs", alpha=alpha, random_state=1, max_iter=10
            )
            model = make_pipeline(StandardScaler(), network).fit(X_train, y_train)
            print(f"{name} {alpha:g}: {model.score(X_test, y_test):.4f}")


def strategies():
    X, y = load_iris(return_X_y=True)
    X = MinMaxScaler().fit_transform(X)
    for settings in (
        {"learning_rate": "constant", "momentum": 0, "learning_rate_init": 0.2},
        {"learning_rate": "constant", "momentum": 0.9, "nesterovs_momentum": False},
        {"learning_rate": "invscaling", "momentum": 0.9, "learning_rate_init": 0.2},
        {"solver": "adam", "learning_rate_init": 0.01},
    ):
        network = MLPClassifier(**{"solver": "sgd"} | settings, random_state=0, max_iter=10)
        network.fit(X, y)
        print(f"{network.score(X, y):.4f} {network.loss_:.6f}", len(network.loss_curve_))


def first_layer():
    X, y = load_digits(return_X_y=True)
    network = MLPClassifier((16,), max_iter=4, solver="sgd", random_state=1, learning_rate_init=0.2)
    network.fit(X[:500] / 16, y[:500])
    print(network, network.coefs_[0].shape)
    print(f"{network.coefs_[0].min():.5f} {network.coefs_[0].max():.5f}")


if __name__ == "__main__":
    penalties()
    strategies()
    first_layer()
"""

PROGRAM = """
from __future__ import annotations

import pickle
import sys

from sklearn.neural_network import MLPRegressor


class Own:
    pass


assert type(pickle.loads(pickle.dumps(Own()))) is Own
print(MLPRegressor.__module__, *sys.argv[1:])
how = sys.argv[1]
if how == "fails":
    1 / 0
if how == "stops":
    raise KeyboardInterrupt
if how != "ends":
    sys.exit(int(how) if how.isdecimal() else how)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A script, and what running it changes restored."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    yield path
    fastmlp.unpatch_sklearn()


def ended(*argv):
    """The status with which a program ends."""
    try:
        return main(["run", *map(str, argv)])
    except SystemExit as exit:
        return exit.code


@pytest.mark.parametrize(
    ("how", "status", "error"),
    [
        (["ends", "-m", "--help"], 0, None),
        (["7"], 7, None),
        (["text"], "text", None),
        (["fails", "-x"], 1, "ZeroDivisionError: division by zero"),
        (["stops"], 130, "KeyboardInterrupt"),
    ],
)
def test_a_script_ends_as_with_python(capsys, program, how, status, error):
    assert ended(program, *how) == status
    printed = capsys.readouterr()
    assert printed.out == f"fastmlp.estimators.regressor {' '.join(how)}\n"
    assert printed.err.startswith(LINE)
    traceback = printed.err.removeprefix(LINE)
    if error is None:
        assert not traceback
    else:
        first, place, *_, last = traceback.splitlines()
        assert first == "Traceback (most recent call last):"
        assert place.startswith(f'  File "{program}", line ')
        assert last == error
    assert sys.argv[0] == str(program)
    assert sys.path[0] == str(program.parent)
    assert sys.modules["__main__"].__file__ == str(program)


def test_programs_of_other_kinds(capsys, program, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(PROGRAM)
    with zipfile.ZipFile(tmp_path / "packed", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    monkeypatch.chdir(tmp_path)
    for argv in (["-m", "program"], ["-m", "folder"], ["folder"], ["packed"]):
        monkeypatch.setattr(sys, "path", ["", *sys.path])
        assert ended(*argv, "ends", "-m") == 0
        assert capsys.readouterr().out == "fastmlp.estimators.regressor ends -m\n"


def test_what_is_no_program(capsys, program):
    program.write_text("x = = 1")
    assert ended(program) == 1
    assert capsys.readouterr().err.splitlines()[1] == f'  File "{program}", line 1'
    assert ended(program.with_name("nowhere.py")) == 2
    assert "can't open file" in capsys.readouterr().err
    assert ended("-m", "nowhere_at_all") == 1
    assert capsys.readouterr().err == f"{LINE}ImportError: No module named nowhere_at_all\n"


@pytest.mark.compiled
def test_scikit_learns_examples_print_the_same(capsys, program):
    program.write_text(EXAMPLES)
    runpy.run_path(str(program), run_name="__main__")
    theirs = capsys.readouterr().out
    assert theirs.count("\n") >= 12
    assert ended(program) == 0
    assert sklearn.neural_network.MLPClassifier is fastmlp.MLPClassifier
    assert capsys.readouterr().out == theirs


@pytest.mark.slow
def test_processes_end_alike(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    plain, ours = (
        subprocess.run(
            [sys.executable, *command, "program.py", "fails", "-q"],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )
        for command in ([], ["-m", "fastmlp", "run"])
    )  # fmt: skip
    assert ours.returncode == plain.returncode
    assert ours.stderr == LINE + plain.stderr
    assert ours.stdout.split()[1:] == plain.stdout.split()[1:]
