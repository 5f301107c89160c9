"""The commands of ``python -m fastmlp``: a module each, imported when its command is called."""
