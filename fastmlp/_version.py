"""The version of the package, in the one place that every module can read."""

__version__ = "0.1.0"
