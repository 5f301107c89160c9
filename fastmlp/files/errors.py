"""The error of everything that is wrong with a file."""


class FileError(ValueError):
    """A file is not one of fastmlp's, is damaged or newer, or cannot hold an object."""
