"""What users are told: errors, warnings, progress, and what describes an estimator."""

import importlib.util
import inspect
import os
import re
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from tasks import DEVICES, TASKS

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, activations, losses, optimizers, schedules
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


def test_targets_of_a_regressor_are_dense():
    with pytest.raises(ValueError, match=r"must be dense: pass y\.toarray\(\)"):
        MLPRegressor().fit(X, sparse.csr_array(np.c_[Y, Y]))


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


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [("loss", losses.Huber), ("solver", optimizers.Lion), ("learning_rate", schedules.Cosine)],
)
def test_a_class_in_the_place_of_an_object(parameter, kind):
    with pytest.raises(ValueError, match=rf"a class: write {kind.__name__}\(\)\."):
        MLPRegressor(**{parameter: kind}).fit(X, Y)


@pytest.mark.parametrize("parameter", ["activation", "loss", "weight_init", "device"])
def test_allowed_names_are_sorted(parameter):
    with pytest.raises(ValueError, match=f"The '{parameter}' parameter") as error:
        MLPRegressor(**{parameter: "nonsense"}).fit(X, Y)
    names = re.findall(r"'(\w+)'", re.search(r"\{(.*)\}", str(error.value)).group(1))
    assert len(names) > 2
    assert names == sorted(names)


@pytest.mark.parametrize("parameter", ["activation", "loss", "solver", "device"])
def test_what_is_no_name_is_told_the_names(parameter):
    with pytest.raises(InvalidParameterError, match=r"Got 3\.5 instead\. Its names are '\w+', '"):
        MLPRegressor(**{parameter: 3.5}).fit(X, Y)


@pytest.mark.parametrize("rate", [0.01, 1, np.float64(0.01), np.float32(0.5)], ids=repr)
def test_a_number_in_the_place_of_a_schedule(rate):
    with pytest.raises(InvalidParameterError, match=r"^The 'learning_rate' parameter of") as error:
        MLPClassifier(learning_rate=rate).fit(X, LABELS)
    assert str(error.value).endswith(f"For a number, write learning_rate_init={rate}.")


# ---- names ---------------------------------------------------------------------------------------

MISSPELT = {
    "activation": ("rleu", "relu"),
    "output_activation": ("Softmx", "softmax"),
    "solver": ("adm", "adam"),
    "loss": ("Log Loss", "log_loss"),
    "learning_rate": ("cosin", "cosine"),
    "weight_init": ("golrot", "glorot"),
    "class_weight": ("balance", "balanced"),
    "averaging": ("sva", "swa"),
    "scoring": ("acuracy", "accuracy"),
    "device": ("cud", "cuda"),
}


@pytest.mark.parametrize("parameter", MISSPELT)
def test_a_misspelt_name(parameter):
    name, meant = MISSPELT[parameter]
    with pytest.raises(InvalidParameterError, match=f"^The '{parameter}' parameter of") as error:
        MLPClassifier(**{parameter: name}, early_stopping=True).fit(X, LABELS)
    assert str(error.value).endswith(f"Got {name!r} instead. Did you mean {meant!r}?")


def test_a_name_like_no_other():
    with pytest.raises(ValueError, match=r"Got 'xyz' instead\.$"):
        MLPRegressor(activation="xyz").fit(X, Y)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (lambda: activations.resolve_layers(["relu", "tnh"], 2), "tanh"),
        (lambda: losses.resolve("hubert"), "huber"),
        (lambda: optimizers.resolve("adamW2"), "adamw"),
        (lambda: schedules.schedule("plato", 0.1), "plateau"),
    ],
    ids=["activation", "loss", "optimizer", "schedule"],
)
def test_a_misspelt_name_outside_of_an_estimator(wrong, meant):
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'\\?$"):
        wrong()


@both
def test_a_misspelt_parameter(make):
    with pytest.raises(ValueError, match=r"^Invalid parameter 'hiden_layer_sizes'") as error:
        make().set_params(alpha=1, hiden_layer_sizes=(5,))
    with pytest.raises(ValueError, match=r"^Invalid parameter") as theirs:
        BaseEstimator.set_params(make(), hiden_layer_sizes=(5,))
    ours, theirs = str(error.value), str(theirs.value)
    assert ours == theirs.replace("()", "(alpha=1)") + " Did you mean 'hidden_layer_sizes'?"


def test_a_misspelt_parameter_in_a_pipeline():
    model = make_pipeline(StandardScaler(), MLPClassifier())
    with pytest.raises(ValueError, match=r"Did you mean 'max_iter'\?$"):
        model.set_params(mlpclassifier__maxiter=3)
    with pytest.raises(ValueError, match=r"^Invalid parameter 'xyz'.*]\.$"):
        model.set_params(mlpclassifier__xyz__alpha=3)


@both
def test_parameters_are_set_as_in_scikit_learn(make):
    estimator = make()
    assert estimator.set_params() is estimator
    assert estimator.set_params(alpha=3, max_iter=7) is estimator
    assert (estimator.alpha, estimator.max_iter) == (3, 7)


# ---- missing values ------------------------------------------------------------------------------

NAMES = np.array([f"feature {i}" for i in range(X.shape[1])], dtype=object)


def holed(columns):
    """X with a missing value in each of these columns."""
    table = X.copy()
    table[7, columns] = np.nan
    return table


CLASSES = {MLPClassifier: {"classes": [False, True]}, MLPRegressor: {}}
FORMS = {
    "array": np.asarray,
    "single": np.float32,
    "list": np.ndarray.tolist,
    "object": lambda table: np.where(np.isnan(table), None, table),
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "frame": lambda table: pd.DataFrame(table, columns=NAMES),
    "nullable": lambda table: pd.DataFrame(table, columns=NAMES).convert_dtypes(),
}


@both
@pytest.mark.parametrize("form", FORMS)
def test_columns_with_missing_values_are_named(make, form):
    convert = FORMS[form]
    names = NAMES if form in ("frame", "nullable") else range(len(NAMES))
    fitted = make(max_iter=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(convert(X), LABELS)
    table = convert(holed([6, 2]))
    for attempt in (
        lambda: make().fit(table, LABELS),
        lambda: make().partial_fit(table, LABELS, **CLASSES[make]),
        lambda: fitted.predict(table),
    ):
        with pytest.raises(ValueError, match=r"^Input X contains NaN\.\n") as error:
            attempt()
        last = str(error.value).splitlines()[-1]
        assert last.startswith(f"Columns with NaN: {names[2]!r}, {names[6]!r}. Put an imputer")
        assert f"make_pipeline(sklearn.impute.SimpleImputer(), {make.__name__}(" in last
        assert type(error.value) is ValueError


def test_many_columns_with_missing_values_are_counted():
    with pytest.raises(ValueError, match=r"with NaN: 0, 1, 2, 3, 4 and 2 more\. Put an imputer"):
        MLPRegressor().fit(holed(range(7)), Y)
    with pytest.raises(ValueError, match=r"with NaN: 0, 1, 2, 3, 4\. Put an imputer"):
        MLPRegressor().fit(holed(range(5)), Y)


def test_columns_that_the_fit_did_not_know_are_numbers():
    fitted = MLPRegressor(solver="lbfgs", max_iter=1)
    with pytest.warns(ConvergenceWarning):
        fitted.fit(FORMS["frame"](X), Y)
    wider = np.column_stack([X, np.full(len(X), np.nan)])
    with (
        pytest.warns(UserWarning, match="does not have valid feature names"),
        pytest.raises(ValueError, match=f"with NaN: {X.shape[1]}\\. Put an imputer"),
    ):
        fitted.predict(wider)


def test_no_other_error_speaks_of_columns():
    y = Y.astype(float)
    y[0] = np.nan
    infinite = np.where(np.isnan(holed([2])), np.inf, X)
    for data in ((X, y), (infinite, Y), (X[:, 0], Y)):
        with pytest.raises(ValueError, match=r"Input (y|X) contains|Expected 2D array") as error:
            MLPRegressor().fit(*data)
        assert "Columns" not in str(error.value)


def test_validation_rows_with_missing_values():
    with pytest.raises(ValueError, match=r"X_val(?s:.)*Columns with NaN: 4\."):
        MLPRegressor().fit(X, Y, X_val=holed([4]), y_val=Y)


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


@pytest.mark.slow
def test_names_are_imported_when_they_are_used():
    done = run(
        """
        import sys, fastmlp
        assert not {"numba", "sklearn", "numpy"} & sys.modules.keys()
        assert {"MLPClassifier", "losses", "__version__"} <= set(dir(fastmlp))
        assert fastmlp.losses.Huber().name == "huber"
        assert fastmlp.inspection.gradients and fastmlp.displays.NetworkDisplay
        assert fastmlp.export.to_c and fastmlp.callbacks.Checkpoint
        from fastmlp import *
        assert MLPRegressor is fastmlp.MLPRegressor is fastmlp.estimators.MLPRegressor
        assert show_versions is fastmlp.cli.info.show_versions
        from fastmlp import demo, gallery, info, warmup
        assert info is fastmlp.info is fastmlp.cli.info and warmup is fastmlp.cli.warmup
        sys.modules["dask"] = None  # as if it were not installed
        assert "dask" not in dir(fastmlp)
        try:
            fastmlp.dask
        except ImportError as error:
            assert str(error).startswith("fastmlp.dask needs dask[array,dataframe,distributed]")
        else:
            raise AssertionError
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
BLOCKS = re.findall(r"```py(?:thon)?\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
#: Packages that examples import and the extra `test` does not install everywhere.
NOT_REQUIRED = ("fastapi", "mlflow", "onnxruntime", "optuna", "shap", "skl2onnx", "skops", "skrub")


def needed(block):
    """Those of these packages that a block imports."""
    imported = set(re.findall(r"^(?:import|from) (\w+)", block, re.MULTILINE))
    return tuple(name for name in NOT_REQUIRED if name in imported)


#: Each block has its names to itself; only the modules are imported once for all.
RUN_BLOCKS = """
for number, block in enumerate({blocks!r}):
    exec(compile(block, f"block {{number}} of them", "exec"), {{"__name__": "__main__"}})
"""


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize(
    "packages", sorted({*map(needed, BLOCKS)}), ids=lambda names: " ".join(names) or "none"
)
def test_each_block_of_the_readme_runs_alone(packages, tmp_path):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    blocks = [block for block in BLOCKS if needed(block) == packages]
    done = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS.format(blocks=blocks)],
        cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_readme_has_recipes_for_these():
    assert {name for block in BLOCKS for name in needed(block)} == {*NOT_REQUIRED}
