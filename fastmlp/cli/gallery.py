"""The gallery: one picture of each kind, written as PNG."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.preprocessing import StandardScaler

from .. import activations
from ..displays import (
    BLUE,
    ORANGE,
    ActivationDisplay,
    GradientErrorDisplay,
    GradientFlowDisplay,
    IntegratedGradientsDisplay,
    LearningRateRangeDisplay,
    LossCurveDisplay,
    NetworkDisplay,
)
from ..estimators import MLPClassifier, MLPRegressor


class GalleryError(RuntimeError):
    """The pictures cannot be drawn or written."""


def write(folder: str | Path, device: str = "auto") -> None:
    """Draw all pictures into a folder, create it if necessary, and print their names.

    Parameters
    ----------
    folder : str or Path
        The folder; files with the same names are overwritten.
    device : str, default="auto"
        The device that trains the networks.

    Raises
    ------
    GalleryError
        If matplotlib is missing, or the folder cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise GalleryError(
            "the gallery needs matplotlib, which is not installed: pip install 'fastmlp[plot]'"
        ) from error
    folder = Path(folder)
    for name, (size, draw) in PICTURES.items():
        with rc_context(STYLE), warnings.catch_warnings():
            # Some networks are shown during training, or cannot converge.
            warnings.simplefilter("ignore", ConvergenceWarning)
            figure = Figure(size, layout="constrained")
            draw(figure, device)
            path = folder / f"{name}.png"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(path)
            except OSError as error:
                raise GalleryError(f"{path} cannot be written: {error.strerror}") from error
        print(path)


def _loss_curve(figure, device):
    X, y = load_breast_cancer(return_X_y=True)
    network = MLPClassifier(
        (32,), early_stopping=True, n_iter_no_change=20, random_state=2, device=device
    )
    network.fit(StandardScaler().fit_transform(X), y)
    display = LossCurveDisplay.from_estimator(network, ax=figure.subplots())
    display.ax_.set_title("Breast cancer: 32 hidden units, adam, early stopping")


def _activations(figure, device):
    names = [name for name in activations.HIDDEN if name != "silu"]  # another name of swish
    for ax, name in zip(figure.subplots(3, 5, sharex=True).flat, names, strict=True):
        kind = activations.HIDDEN[name]
        chosen = activations.Maxout(pieces=3) if kind.pieces > 1 else name
        ActivationDisplay.from_activation(chosen, ax=ax)
        ax.set(ylim=(-1.9, 3.2), xticks=range(-4, 5, 2), yticks=range(-1, 4))
        if name != names[0]:
            ax.get_legend().remove()
        if not ax.get_subplotspec().is_last_row():
            ax.set_xlabel("")
    figure.suptitle("Activations f and their slopes f'")


def _decision_boundary(figure, device):
    X, y = make_moons(200, noise=0.25, random_state=0)
    X_test, y_test = make_moons(1000, noise=0.25, random_state=1)
    from matplotlib.colors import LinearSegmentedColormap

    colors = LinearSegmentedColormap.from_list("classes", [ORANGE, "white", BLUE])
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    for ax, hidden in zip(axes, [(), (3,), (50, 50)], strict=True):
        network = MLPClassifier(
            hidden, "tanh", solver="lbfgs", alpha=0.1, random_state=1, device=device
        ).fit(X, y)
        settings = {"response_method": "predict_proba", "eps": 0.4, "ax": ax}
        boundary = DecisionBoundaryDisplay.from_estimator(
            network, X, cmap=colors, alpha=0.6, levels=np.linspace(0, 1, 11), **settings
        )
        DecisionBoundaryDisplay.from_estimator(
            network, X, plot_method="contour", levels=[0.5], colors="black", **settings
        )
        for label, color, marker in ((0, ORANGE, "o"), (1, BLUE, "^")):
            ax.scatter(
                *X[y == label].T, s=24, color=color, marker=marker, edgecolor="white",
                linewidth=0.5, label=f"class {label}",
            )  # fmt: skip
        accuracy = network.score(X_test, y_test)
        ax.set_title(f"hidden_layer_sizes={hidden}\ntest accuracy {accuracy:.0%}")
        ax.set(xlabel="x1")
    axes[0].set_ylabel("x2")
    axes[0].legend(loc="lower left")
    figure.colorbar(boundary.surface_, ax=axes, label="probability of class 1")


def _network(figure, device):
    coefs = [[[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]]
    network = MLPRegressor(
        hidden_layer_sizes=(2,),
        activation="logistic",
        output_activation="logistic",
        weight_init=(coefs, [[0.35, 0.35], [0.60, 0.60]]),
        solver="sgd",
        alpha=0,
        learning_rate_init=1e-300,
        device=device,
    )
    x, y = np.array([0.05, 0.10]), np.array([0.01, 0.99])
    network.partial_fit([x], [y])
    NetworkDisplay.from_estimator(network, x, y, ax=figure.subplots())


def _gradient_flow(figure, device):
    X, y = load_digits(return_X_y=True)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for ax, activation in zip(axes, ("logistic", "relu"), strict=True):
        network = MLPClassifier((32,) * 6, activation, random_state=0, device=device)
        GradientFlowDisplay.from_estimator(network, X / 16, y, epochs=30, ax=ax)
        ax.set_title(f"activation={activation!r}")
    axes[0].get_legend().remove()  # the same as its neighbour's
    axes[1].set_ylabel("")
    figure.suptitle("Digits through six hidden layers of 32 units")


def _gradient_error(figure, device):
    X, y = make_moons(50, noise=0.2, random_state=0)
    network = MLPClassifier((6,), "tanh", random_state=0, max_iter=20, device=device).fit(X, y)
    GradientErrorDisplay.from_estimator(network, X, y, ax=figure.subplots())
    figure.suptitle("Moons: 2-6-1 units, tanh, 50 rows")


def _learning_rate_range(figure, device):
    X, y = load_digits(return_X_y=True)
    network = MLPClassifier((64,), random_state=0, device=device)
    LearningRateRangeDisplay.from_estimator(network, X / 16, y, ax=figure.subplots())
    figure.suptitle("Digits: 64 hidden units, adam")


def _integrated_gradients(figure, device):
    data = load_breast_cancer()
    X, y = StandardScaler().fit_transform(data.data), data.target == 0
    network = MLPClassifier((32,), max_iter=50, random_state=0, device=device).fit(X, y)
    IntegratedGradientsDisplay.from_estimator(
        network, X[0], feature_names=data.feature_names, max_features=10, ax=figure.subplots()
    )
    figure.suptitle("Breast cancer: one malignant tumour, compared with the mean")


STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "savefig.dpi": 150,
}

#: The name of each picture, its size in inches, and the function that draws it on a figure.
PICTURES: dict[str, tuple[tuple[float, float], Callable]] = {
    "loss_curve": ((7, 4.2), _loss_curve),
    "activations": ((13, 7.5), _activations),
    "decision_boundary": ((12, 4.2), _decision_boundary),
    "network": ((9, 5.5), _network),
    "gradient_flow": ((11, 4.5), _gradient_flow),
    "gradient_error": ((7, 4.5), _gradient_error),
    "learning_rate_range": ((7, 4.5), _learning_rate_range),
    "integrated_gradients": ((7, 4.5), _integrated_gradients),
}
