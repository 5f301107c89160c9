"""The error of everything that is wrong with a file, and values in its messages."""


class FileError(ValueError):
    """A file is not one of fastmlp's, is damaged or newer, or cannot hold an object."""


def brief(value: object) -> str:
    """Return a value, or a message, as one line of at most 200 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:197]}..."
