"""What users are told: errors, warnings, progress, and what describes an estimator."""

import inspect
import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from tasks import DEVICES, TASKS

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, activations, losses
from fastmlp.devices.reference import ReferenceDevice
from fastmlp.training import lbfgs

X, Y, _ = TASKS["squared_error"].data()
LABELS = Y > 0
both = pytest.mark.parametrize("make", [MLPClassifier, MLPRegressor])


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        np.full(60, "2020-01-01", "M8[D]"),
        np.full(60, "NaT", "M8[s]"),
        np.full(60, 3, "m8[s]"),
        np.full(60, "1.5"),
    ],
    ids=["date", "no date", "duration", "text"],
)
def test_targets_of_a_regressor_are_numbers(y):
    with pytest.raises(ValueError, match="The targets of a regressor must be numbers, got dtype"):
        MLPRegressor().fit(X, y)


@pytest.mark.parametrize(
    ("rows", "fraction", "says"),
    [
        (1, 0.1, "With n_samples=1, validation_fraction=0.1, the resulting train set"),
        (20, 0.05, "validation_fraction = 1 should be greater or equal to the number of classes"),
        (60, 0.01, "Increase 'validation_fraction'"),
    ],
)
def test_held_out_rows_are_told_by_our_parameter(rows, fraction, says):
    make = MLPClassifier if "classes" in says else MLPRegressor
    y = LABELS if "classes" in says else Y
    estimator = make(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        estimator.fit(X[:rows], y[:rows])
    assert "test_size" not in str(error.value)


def test_parameters_are_checked_before_classes():
    with pytest.raises(ValueError, match="The 'activation' parameter of MLPClassifier"):
        MLPClassifier(activation=3).partial_fit(X, LABELS)
    fitted = MLPClassifier(random_state=0).partial_fit(X, LABELS, classes=[False, True])
    fitted.set_params(activation=3)  # set after the first call, it is not, as in scikit-learn
    with pytest.raises(ValueError, match="Unknown activation of hidden layers: 3"):
        fitted.partial_fit(X, LABELS)


@pytest.mark.parametrize("sizes", [(32, 32), [5], 7, np.array([3])], ids=str)
def test_layers_in_the_place_of_the_loss(sizes):
    says = f"The first parameter is the loss: write hidden_layer_sizes={sizes!r}."
    with pytest.raises(ValueError, match=re.escape(says)):
        MLPRegressor(sizes).fit(X, Y)
    with pytest.raises(ValueError, match="The 'loss' parameter") as error:
        MLPClassifier(loss=sizes).fit(X, LABELS)
    assert "first parameter" not in str(error.value)


@pytest.mark.parametrize("parameter", ["activation", "output_activation"])
def test_a_class_or_a_function_in_the_place_of_an_activation(parameter):
    for value, says in (
        (activations.Tanh, r"That is a class: write Tanh\(\)\."),
        (np.tanh, r"given as fastmlp\.activations\.Custom\(f, derivative\)\."),
    ):
        with pytest.raises(ValueError, match=f"The '{parameter}' parameter.*{says}"):
            MLPRegressor(**{parameter: value}).fit(X, Y)


@pytest.mark.parametrize("parameter", ["activation", "loss", "weight_init", "device"])
def test_allowed_names_are_sorted(parameter):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter") as error:
        MLPRegressor(**{parameter: "nonsense"}).fit(X, Y)
    names = re.findall(r"'(\w+)'", re.search(r"\{(.*)\}", str(error.value)).group(1))
    assert len(names) > 2
    assert names == sorted(names)


# ---- warnings ------------------------------------------------------------------------------------

WARNINGS = {
    "epochs": ({"max_iter": 1}, ConvergenceWarning),
    "iterations": ({"max_iter": 1, "solver": "lbfgs"}, ConvergenceWarning),
    "batch size": ({"max_iter": 500, "tol": 1e9, "batch_size": 999}, UserWarning),
}


@both
@pytest.mark.parametrize("name", WARNINGS)
def test_warnings_point_to_the_callers_line(make, name):
    settings, category = WARNINGS[name]
    with pytest.warns(category) as told:
        make(**settings).fit(X, LABELS)
    line = inspect.currentframe().f_lineno - 1
    assert [(each.filename, each.lineno) for each in told] == [(__file__, line)]


@both
def test_in_a_pipeline_a_filter_for_scikit_learn_is_enough(make):
    """As scikit-learn's examples have it."""
    model = make_pipeline(StandardScaler(), make(max_iter=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=ConvergenceWarning, module="sklearn")
        model.fit(X, LABELS)


# ---- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", DEVICES)
def test_an_interrupt_of_lbfgs_keeps_the_best_weights_so_far(monkeypatch, device):
    seen = []
    evaluate = lbfgs.loss_and_gradient

    def interrupted(device, parameters, rows):
        loss, gradient = evaluate(device, parameters, rows)
        seen.append((loss, np.array(parameters)))
        if len(seen) == 7:
            raise KeyboardInterrupt
        return loss, gradient

    monkeypatch.setattr(lbfgs, "loss_and_gradient", interrupted)
    estimator = MLPRegressor(solver="lbfgs", random_state=0, device=device)
    with pytest.warns(UserWarning, match="Training interrupted by user") as told:
        estimator.fit(X, Y)
    assert [each.filename for each in told] == [__file__]
    assert len(seen) == 7
    loss, parameters = min(seen[:-1], key=lambda each: each[0])
    assert estimator.loss_ == loss < seen[0][0]
    np.testing.assert_array_equal(estimator.coefs_[0].ravel(), parameters[:700])
    assert 0 < estimator.n_iter_ < 7


def test_an_interrupt_before_there_is_anything_to_keep(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ReferenceDevice, "sums", interrupted)
    estimator = MLPRegressor(solver="lbfgs", device="reference")
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "coefs_")


# ---- progress ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    ("verbose", "epochs"),
    [
        (False, []),
        (0, []),
        (True, [*range(1, 26)]),
        (1, [*range(1, 26)]),
        (10, [1, 10, 20]),
        (np.int64(20), [1, 20]),
        (100, [1]),
    ],
)
def test_verbose_says_of_how_many_epochs_one_is_printed(capsys, verbose, epochs):
    settings = {"max_iter": 25, "n_iter_no_change": 99, "early_stopping": True}
    MLPRegressor(**settings, verbose=verbose).fit(X, Y)
    printed = capsys.readouterr().out
    assert [int(n) for n in re.findall(r"Iteration (\d+), loss = ", printed)] == epochs
    assert printed.count("Validation score") == len(epochs)


def test_why_training_stops_is_always_printed(capsys):
    MLPRegressor(tol=1e9, n_iter_no_change=3, verbose=100).fit(X, Y)
    assert "Training loss did not improve more than" in capsys.readouterr().out


# ---- descriptions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "positive"),
    [
        ("poisson", True),
        (losses.Gamma(), True),
        ("squared_error", False),
        (losses.Quantile(0.1), False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_the_tag_of_positive_targets(loss, positive):
    assert get_tags(MLPRegressor(loss=loss)).target_tags.positive_only is positive


@both
def test_the_notebook_shows_what_parameters_mean(make):
    html = make()._repr_html_()
    assert html.count('class="param-doc-link"') == len(make().get_params())
    assert f"sklearn.neural_network.{make.__name__}.html" in html
    assert "Where to compute" in html


@both
@pytest.mark.parametrize("method", ["fit", "predict", "partial_fit", "score"])
def test_signatures_can_be_read(make, method):
    assert len(str(inspect.signature(getattr(make(), method)))) < 300


# ---- the package's face --------------------------------------------------------------------------


def run(program, *arguments):
    return subprocess.run(
        [sys.executable, *arguments, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )


def test_names_are_imported_when_they_are_used():
    done = run(
        """
        import sys, fastmlp
        assert not {"numba", "sklearn", "numpy"} & sys.modules.keys()
        assert {"MLPClassifier", "losses", "__version__"} <= set(dir(fastmlp))
        assert fastmlp.losses.Huber().name == "huber"
        assert fastmlp.inspection.gradients and fastmlp.displays.NetworkDisplay
        from fastmlp import *
        assert MLPRegressor is fastmlp.MLPRegressor is fastmlp.estimators.MLPRegressor
        assert show_versions is fastmlp.cli.info.show_versions
        from fastmlp import demo, gallery, info, warmup
        assert info is fastmlp.info is fastmlp.cli.info and warmup is fastmlp.cli.warmup
        try:
            fastmlp.nonsense
        except AttributeError as error:
            assert str(error) == "module 'fastmlp' has no attribute 'nonsense'"
        else:
            raise AssertionError
        """
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_command_line_answers_at_once(option):
    done = run(
        f"""
        import sys
        from fastmlp.__main__ import main
        try:
            main(["{option}"])
        except SystemExit as end:
            assert not {{"numba", "sklearn", "numpy"}} & sys.modules.keys()
            sys.exit(end.code)
        """
    )
    assert done.returncode == 0, done.stderr
    assert "fastmlp" in done.stdout


README = Path(fastmlp.__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_block_of_the_readme_runs_alone(number, tmp_path):
    if "import optuna" in BLOCKS[number]:
        pytest.importorskip("optuna", reason="the README's example of pruning needs optuna")
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[number]], cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_readme_has_blocks():
    assert len(BLOCKS) > 4
