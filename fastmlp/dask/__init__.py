"""Estimators that train on a Dask cluster; they need ``pip install 'fastmlp[dask]'``.

The rows lie on the workers, in the blocks of a Dask array or data frame. `fastmlp.training` trains
as it does on one machine: all members of a cluster together are one device, `cluster.Cluster`.
"""

try:
    import dask.array
    import dask.dataframe  # noqa: F401
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastmlp.dask needs dask[array,dataframe,distributed]: pip install 'fastmlp[dask]' "
        f"({error})"
    ) from error

from .estimators import DaskMLPClassifier, DaskMLPRegressor

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor"]
