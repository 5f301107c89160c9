"""What a fitted estimator becomes outside of its process: a file, scikit-learn's own, a pickle."""

from __future__ import annotations

import os
import warnings
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from .._version import __version__
from .exchange import to_sklearn
from .fitted import Latest
from .parameters import defaults
from .saving import save


class Portable(BaseEstimator):
    """The part of an estimator that takes it to other places; see `BaseMLP`."""

    def save(self, path: str | os.PathLike[str], *, training: bool = False) -> None:
        """Write the fitted estimator to a file, from which `fastmlp.load` reads it.

        The file is a ``.npz`` of NumPy without pickles, documented in `fastmlp.files`, so that
        other versions and other languages can read it. It has parameters, fitted attributes and
        weights. It has no callbacks, which are code, and no metadata requests: set both again on
        what `fastmlp.load` returns if it is to be fitted further.

        Parameters
        ----------
        path : str or Path
            The file, written whole or not at all; one that exists is replaced.
        training : bool, default=False
            Whether to keep everything that `partial_fit` and a warm start go on from, to the same
            bits: the optimiser's moments and step, the schedule's state, and the weights that an
            average is of. With Adam, the file is then three times as large. With a `random_state`
            of None, random numbers are NumPy's, which no file keeps.

        Raises
        ------
        FileError
            If the estimator has functions or objects of your own, or is of a class of your own. It
            is a ValueError.
        ValueError
            If its parameters are not valid.
        OSError
            If the file cannot be written.

        See Also
        --------
        fastmlp.load : Reads the file; an example is there.
        """
        save(self, path, training)

    def to_sklearn(self, *, training: bool = True) -> Any:
        """Return a fitted estimator of `sklearn.neural_network`, which needs no fastmlp.

        Parameters
        ----------
        training : bool, default=True
            Whether it is to go on training as this one would: `partial_fit` with the moments of the
            optimiser, warm starts, and new fits. Otherwise only its predictions are the same, and
            parameters that scikit-learn lacks are at its defaults.

        Returns
        -------
        estimator : sklearn.neural_network.MLPClassifier or MLPRegressor
            It shares no arrays with this one.

        Raises
        ------
        ValueError
            If scikit-learn lacks something that the network, or its training, has. The message
            names it.

        See Also
        --------
        fastmlp.from_sklearn : The other way.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
        >>> network = MLPRegressor(random_state=0).partial_fit(X, y)
        >>> theirs = network.to_sklearn()
        >>> type(theirs).__module__.partition(".")[0]
        'sklearn'
        >>> import numpy as np
        >>> later = theirs.partial_fit(X, y), network.partial_fit(X, y)
        >>> np.allclose(*(estimator.predict(X) for estimator in later))
        True
        """
        return to_sklearn(self, training)

    def __getstate__(self):
        state = dict(super().__getstate__())  # which may be the estimator's own dict
        state["_fastmlp_version"] = __version__
        state.pop("_latest", None)  # which is made again from the attributes
        state.pop("_running", None)  # a copy is not the estimator that is being fitted
        return state

    def __setstate__(self, state):
        kind: Any = type(self)
        state = defaults(kind) | state  # earlier versions had fewer parameters
        version = state.pop("_fastmlp_version", "pre-0.1.0")
        if version != __version__:
            warning = InconsistentVersionWarning(
                estimator_name=f"fastmlp.{kind.__name__}",
                current_sklearn_version=__version__,
                original_sklearn_version=version,
            )
            warnings.warn(warning, stacklevel=2)
        super().__setstate__(state)
        if "_fitted_as" in state:
            self._latest = Latest()
