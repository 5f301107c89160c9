"""The command line: ``python -m fastmlp``, or ``fastmlp``."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from . import __version__


def main(argv: list[str] | None = None) -> int:
    """Run the command given in `argv` and return the exit status.

    Parameters
    ----------
    argv : list of str, optional
        Command-line arguments without the program name; by default those of the process.

    Returns
    -------
    status : int
        0 on success, 1 after a reported error, 130 if interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("fastmlp: interrupted", file=sys.stderr)
        return 130  # the exit status that a shell reports for a program ended by SIGINT
    except BrokenPipeError:
        # The reader has closed the pipe, as `head` does; the flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        print(f"fastmlp: error: {_line(error)}", file=sys.stderr)
        return 1
    return 0


def _line(error):
    """Format an error as one line; for an unexpected error, with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, RuntimeError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class _Command(argparse.ArgumentParser):
    """A parser that adds its arguments on first use: the commands' imports take a second or two.

    Parameters
    ----------
    fill : callable, optional
        Adds the arguments to the parser.
    **settings : dict
        Keyword arguments of `argparse.ArgumentParser`.
    """

    def __init__(self, *, fill: Callable | None = None, **settings: Any):
        super().__init__(formatter_class=argparse.ArgumentDefaultsHelpFormatter, **settings)
        self._fill = fill

    def parse_known_args(self, args=None, namespace=None):
        """Add the arguments on the first call, then parse as usual."""
        if self._fill is not None:
            self._fill(self)
            self._fill = None
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = _Command(
        prog="fastmlp",
        description="A JIT-compiled multi-layer perceptron behind scikit-learn's interface.",
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    commands.add_parser(
        "demo",
        help="compare with scikit-learn on real data: results first, then time",
        description="Train classifiers and a regressor on data that comes with scikit-learn, with "
        "fastmlp and with scikit-learn from the same seed, and print times, scores and the largest "
        "difference of the loss curves. The exit status is 1 if the two do not learn the same.",
        fill=_fill_demo,
    )
    commands.add_parser(
        "export",
        help="write a saved network for another program",
        description="Read a network that the method save of an estimator has written, and write it "
        "as a model of ONNX (needs onnx: pip install 'fastmlp[onnx]'), as a source file in C99, or "
        "as a pickle of scikit-learn's estimator, which is for predictions alone: it has no "
        "moments of the optimiser.",
        fill=_fill_export,
    )
    commands.add_parser(
        "gallery",
        help="draw a picture of each kind",
        description="Train small networks and write a PNG of each kind of picture: loss curve, "
        "activations, decision boundary, one sample traced through a network, gradient flow, and "
        "the error of central differences. Needs matplotlib: pip install 'fastmlp[plot]'.",
        fill=_fill_gallery,
    )
    commands.add_parser(
        "info",
        help="show versions, threads, cache folder and devices",
        description="Show versions, processor, threads, the folder of compiled code, and the "
        "devices found. Include this output in a bug report.",
        fill=_fill_info,
    )
    commands.add_parser(
        "run",
        usage="%(prog)s [-h] (SCRIPT | -m MODULE) [ARGS ...]",
        help="run a script with these classes in the place of scikit-learn's",
        description="Run an unchanged script or module, as python does, with fastmlp's "
        "MLPClassifier and MLPRegressor in sklearn.neural_network. Arguments after its name are "
        "its own, and so is the exit status.",
        fill=_fill_run,
    )
    commands.add_parser(
        "show",
        help="show what a saved network is",
        description="Show layers, labels, parameters and records of a network that the method save "
        "of an estimator has written.",
        fill=_fill_show,
    )
    commands.add_parser(
        "warmup",
        help="compile everything in advance and save it to disk",
        description="Compile everything in advance and save it to disk, so that no later process "
        "has to compile: useful when a container image is built. FASTMLP_CACHE_DIR sets the "
        "folder. The exit status is 1 if the compiled code could not be saved.",
        fill=_fill_warmup,
    )
    return parser


def _fill_demo(command):
    from .cli import demo, warmup

    defaults = demo.Settings()
    _add_device(command, defaults.device)
    command.add_argument(
        "--dtype", choices=warmup.DTYPES, default=defaults.dtype, help="precision of both libraries"
    )
    command.add_argument(
        "--epochs", type=_positive, metavar="N", default=defaults.epochs, help="epochs of each fit"
    )
    command.add_argument(
        "--repeats",
        type=_positive,
        metavar="N",
        default=defaults.repeats,
        help="timed fits of each library",
    )
    command.add_argument(
        "--seed",
        type=_seed,
        metavar="N",
        default=defaults.seed,
        help="random_state of both libraries",
    )

    def run(arguments):
        chosen = {name: getattr(arguments, name) for name in demo.Settings._fields}
        demo.run(demo.Settings(**chosen))

    command.set_defaults(command=run)


def _fill_export(command):
    from .cli import export

    _add_model(command)
    command.add_argument("--to", choices=list(export.FORMATS), required=True, help="what to write")
    command.add_argument("-o", "--output", metavar="FILE", required=True, help="where to write it")
    command.add_argument(
        "--name",
        default=argparse.SUPPRESS,
        help="what all names in a C file begin with (default: network)",
    )

    def run(arguments):
        settings = {"name": arguments.name} if hasattr(arguments, "name") else {}
        if settings and arguments.to != "c":
            command.error("--name is for --to c only")
        export.write(arguments.model, arguments.to, arguments.output, **settings)

    command.set_defaults(command=run)


def _fill_gallery(command):
    from .cli import gallery

    command.add_argument(
        "folder", metavar="DIR", help="output folder, created if it does not exist"
    )
    _add_device(command, "auto")
    command.set_defaults(
        command=lambda arguments: gallery.write(arguments.folder, arguments.device)
    )


def _fill_info(command):
    from .cli import info

    command.set_defaults(command=lambda arguments: info.show_versions())


def _fill_run(command):
    command.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, help="run a module, as python -m does"
    )
    command.add_argument("script", nargs=argparse.REMAINDER, help="the script, and its arguments")

    def run(arguments):
        if not (arguments.module or arguments.script):
            command.error("expected a script, or -m and a module")
        from .cli import run

        run.run(arguments.module or arguments.script, as_module=bool(arguments.module))

    command.set_defaults(command=run)


def _fill_show(command):
    from .cli import show

    _add_model(command)
    command.set_defaults(command=lambda arguments: show.show(arguments.model))


def _fill_warmup(command):
    from .cli import warmup

    command.add_argument(
        "--dtype", choices=warmup.DTYPES, help="compile for one precision only (default: both)"
    )
    command.set_defaults(
        command=lambda arguments: warmup.run(
            [arguments.dtype] if arguments.dtype else warmup.DTYPES
        )
    )


def _add_model(command):
    command.add_argument("model", metavar="MODEL.npz", help="the file of a saved network")


def _add_device(command, default):
    from .devices import DEVICES

    command.add_argument(
        "--device", choices=["auto", *DEVICES], default=default, help="device that fastmlp runs on"
    )


def _positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def _seed(text):
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
