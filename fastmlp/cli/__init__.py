"""The commands of ``python -m fastmlp``: one module each, imported when its command is called."""
