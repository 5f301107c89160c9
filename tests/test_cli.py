"""The command line: its commands, their exit statuses, and what they print."""

import pickle
import re
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest

import fastmlp
from fastmlp import _cache
from fastmlp.__main__ import main
from fastmlp._cache import telling
from fastmlp.cli import demo, gallery, info, warmup
from fastmlp.export import to_c, to_onnx
from fastmlp.losses import Huber


def output_of(capsys, *argv, status=0):
    """What a command has printed, after it ended with the given status."""
    assert main(list(argv)) == status
    printed = capsys.readouterr()
    return printed.err if status else printed.out


def exit_of(capsys, *argv):
    """Exit status and output of a command that argparse ends."""
    with pytest.raises(SystemExit) as ended:
        main(list(argv))
    printed = capsys.readouterr()
    return ended.value.code, printed.out + printed.err


@pytest.fixture
def nowhere(monkeypatch):
    """A machine on which no folder can be written."""
    monkeypatch.setattr(_cache, "places", list)
    folders = _cache.CacheFolders()
    for module in (_cache, info, warmup):
        monkeypatch.setattr(module, "CACHE", folders)


@pytest.fixture
def jit_disabled(monkeypatch):
    for module in (demo, info, warmup):
        monkeypatch.setattr(module, "JIT_DISABLED", True)


# ---- arguments ----------------------------------------------------------------------------------


def test_module_runs_as_a_program():
    command = [sys.executable, "-m", "fastmlp", "--version"]
    assert subprocess.check_output(command, text=True) == f"fastmlp {fastmlp.__version__}\n"


COMMANDS = ("demo", "export", "gallery", "info", "run", "show", "warmup")


@pytest.mark.parametrize("argv", [(), *((command,) for command in COMMANDS)])
def test_help(capsys, argv):
    status, text = exit_of(capsys, *argv, "--help")
    assert status == 0
    assert text.startswith(" ".join(["usage: fastmlp", *argv]))


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ((), "required: COMMAND"),
        (("train",), "invalid choice: 'train'"),
        (("demo", "--device", "abacus"), "invalid choice: 'abacus'"),
        (("demo", "--epochs", "0"), "'0' is not a positive whole number"),
        (("demo", "--repeats", "few"), "'few' is not a positive whole number"),
        (("demo", "--seed", "-1"), "'-1' is not a whole number from 0"),
        (("gallery",), "required: DIR"),
        (("warmup", "--dtype", "int8"), "invalid choice: 'int8'"),
        (("run",), "expected a script, or -m and a module"),
        (("run", "-m"), "expected a script, or -m and a module"),
        (("show",), "required: MODEL.npz"),
        (("export", "x.npz", "-o", "y"), "required: --to"),
        (("export", "x.npz", "--to", "pdf", "-o", "y"), "invalid choice: 'pdf'"),
        (("export", "x.npz", "--to", "onnx", "--name", "n", "-o", "y"), "--name is for --to c"),
    ],
)
def test_wrong_arguments(capsys, argv, complaint):
    status, text = exit_of(capsys, *argv)
    assert status == 2
    assert text.startswith("usage: fastmlp")
    assert complaint in text


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (demo.DemoError("they differ"), 1)]
)
def test_ends_without_traceback(capsys, monkeypatch, error, status):
    def fail(settings):
        raise error

    monkeypatch.setattr(demo, "run", fail)
    assert str(error) in output_of(capsys, "demo", status=status)


# ---- info ---------------------------------------------------------------------------------------


def test_info(capsys):
    text = output_of(capsys, "info")
    for line in (
        rf"fastmlp +{fastmlp.__version__}",
        r"python +3\.",
        rf"numpy +{np.__version__}",
        r"scikit-learn +\d",
        r"CPUs +\d+ usable of \d+",
        r"vectors +\d+ bits",
        r"numba +\d+\n",
        r"cache +\S",
        r"cpu +\S",
        r"reference +\S",
        r"auto +\S",
    ):
        assert re.search(rf"^  {line}", text, re.MULTILINE), line


@pytest.mark.compiled
def test_info_tells_why_there_is_no_cache(capsys, nowhere):
    assert "no folder is writable" in output_of(capsys, "info")


def test_info_with_the_jit_off(capsys, jit_disabled):
    assert "NUMBA_DISABLE_JIT is set" in output_of(capsys, "info")


def test_info_tells_why_a_device_is_not_usable(capsys, monkeypatch):
    def load(name):
        raise ImportError(f"no driver for {name}")

    monkeypatch.setattr(info.devices, "load", load)
    assert "not usable: no driver for cpu" in output_of(capsys, "info")


# ---- saved networks -----------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A file, and its estimator."""
    settings = {"activation": ["tanh", "relu"], "device": "reference", "random_state": 0}
    estimator = fastmlp.MLPClassifier((3, 2), **settings)
    X = np.random.default_rng(0).standard_normal((20, 4))
    estimator.partial_fit(X, np.arange(20) % 12, classes=np.arange(12))
    estimator.save(tmp_path / "network.npz", training=True)
    return str(tmp_path / "network.npz"), estimator


def test_show(capsys, saved):
    text = output_of(capsys, "show", saved[0])
    for line in (
        r"file +\S+network\.npz, \d+ bytes",
        rf"written by +fastmlp {fastmlp.__version__}, format 1",
        r"estimator +MLPClassifier\(.*random_state=0\)",
        r"units +4-3-2-12, 59 weights, float64",
        r"activations +tanh, relu, softmax",
        r"labels +0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... \(12\)",
        r"n_iter_ +1",
        r"training +goes on to the same bits",
    ):
        assert re.search(rf"^{line}$", text, re.MULTILINE), line


def test_show_of_a_regressor(capsys, tmp_path):
    X = pd.DataFrame({"height": [1.0, 2.0], "weight": [3.0, 5.0]})
    settings = {"loss": Huber(2.0), "device": "reference"}
    fastmlp.MLPRegressor(**settings).partial_fit(X, [0.0, 1.0]).save(tmp_path / "x.npz")
    text = output_of(capsys, "show", str(tmp_path / "x.npz"))
    assert re.search(r"^features +height, weight$", text, re.MULTILINE)
    assert re.search(r"^loss +huber\(delta=2.0\)$", text, re.MULTILINE)
    assert re.search(r"^training +begins with a new optimiser$", text, re.MULTILINE)


def test_export_to_scikit_learn(capsys, saved, tmp_path):
    path = saved[0]
    target = str(tmp_path / "theirs.pickle")
    complaint = output_of(capsys, "export", path, "--to", "sklearn", "-o", target, status=1)
    assert "lacks what this network has: activation=" in complaint
    X = np.eye(4)
    ours = fastmlp.MLPRegressor(device="reference").partial_fit(X, X).save(path)
    assert ours is None
    assert output_of(capsys, "export", path, "--to", "sklearn", "-o", target) == f"{target}\n"
    theirs = pickle.loads((tmp_path / "theirs.pickle").read_bytes())
    np.testing.assert_allclose(theirs.predict(X), fastmlp.load(path).predict(X), rtol=1e-12)


def test_export_to_c(capsys, saved, tmp_path):
    target = tmp_path / "network.c"
    output_of(capsys, "export", saved[0], "--to", "c", "-o", str(target))
    assert target.read_text() == to_c(saved[1])
    output_of(capsys, "export", saved[0], "--to", "c", "--name", "speed", "-o", str(target))
    assert target.read_text() == to_c(saved[1], name="speed")


def test_export_to_onnx(capsys, saved, tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    target = tmp_path / "network.onnx"
    output_of(capsys, "export", saved[0], "--to", "onnx", "-o", str(target))
    assert onnx.load(target) == to_onnx(saved[1])


def test_commands_on_what_is_no_file(capsys, tmp_path):
    (tmp_path / "x.npz").write_text("")
    path = str(tmp_path / "x.npz")
    assert f"{path}: it does not end as an archive" in output_of(capsys, "show", path, status=1)
    assert "FileNotFoundError" in output_of(capsys, "show", f"{path}.not", status=1)


# ---- warmup -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.no_cover  # nearly all of it is compiling
def test_warmup(capsys):
    output_of(capsys, "warmup")
    text = output_of(capsys, "warmup", "--dtype", "float32")
    assert re.fullmatch(r"float32 +\d+\.\d s  already saved\nsaved in \S.*\n", text)


@pytest.mark.slow
@pytest.mark.compiled
def test_nothing_compiles_after_warmup():
    """A process that is warmed up compiles no more, whatever the task."""
    warmup.compile_for("float64")
    before = info.cache_files()
    settings = demo.Settings(epochs=1)
    for example in demo.EXAMPLES:
        data = demo._data(example, settings)
        for estimator in demo._estimators(example, settings):
            warmup.fit_or_interrupt(estimator, data.X, data.y).predict(data.X)
    assert info.cache_files() == before


@pytest.mark.compiled
def test_warmup_prints_nothing_but_its_own_lines(capsys, monkeypatch):
    monkeypatch.setattr(telling, "_told", set())
    monkeypatch.setattr(warmup, "_check_kept", lambda: None)
    for subject in ("compiling", "waiting"):
        say = partial(telling.tell_once, subject, f"{subject} ...")
        monkeypatch.setattr(warmup, "compile_for", lambda dtype, say=say: say())
        assert main(["warmup"]) == 0
        assert ("waiting ..." in capsys.readouterr().err) == (subject == "waiting")


@pytest.mark.compiled
def test_warmup_needs_a_folder(capsys, nowhere):
    assert "FASTMLP_CACHE_DIR" in output_of(capsys, "warmup", status=1)


@pytest.mark.compiled
def test_warmup_notices_that_nothing_was_kept(capsys, monkeypatch):
    compiled = []
    monkeypatch.setattr(warmup, "cache_files", dict)
    monkeypatch.setattr(warmup, "compile_for", compiled.append)
    monkeypatch.setattr(warmup, "count_compiled", lambda: 7)
    text = output_of(capsys, "warmup", "--dtype", "float64", status=1)
    assert "only 0 of 7 compiled functions were saved" in text
    assert compiled == ["float64"]


def test_warmup_with_the_jit_off(capsys, jit_disabled):
    assert "NUMBA_DISABLE_JIT is set" in output_of(capsys, "warmup", status=1)


# ---- gallery ------------------------------------------------------------------------------------


def test_gallery(capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="draws with matplotlib")
    few = {name: gallery.PICTURES[name] for name in ("loss_curve", "network")}
    monkeypatch.setattr(gallery, "PICTURES", few)
    text = output_of(capsys, "gallery", str(tmp_path / "new"), "--device", "reference")
    for name, line in zip(gallery.PICTURES, text.splitlines(), strict=True):
        path = tmp_path / "new" / f"{name}.png"
        assert line == str(path)
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.compiled
def test_whole_gallery(tmp_path):
    pytest.importorskip("matplotlib", reason="draws with matplotlib")
    gallery.write(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == set(gallery.PICTURES)


def test_gallery_where_nothing_can_be_written(capsys, tmp_path):
    pytest.importorskip("matplotlib", reason="draws with matplotlib")
    (tmp_path / "file").write_text("")
    arguments = "gallery", str(tmp_path / "file"), "--device", "reference"
    assert "loss_curve.png cannot be written" in output_of(capsys, *arguments, status=1)


def test_gallery_without_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "fastmlp[plot]" in output_of(capsys, "gallery", str(tmp_path), status=1)


# ---- demo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["reference", pytest.param("cpu", marks=pytest.mark.compiled)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_demo(capsys, device, dtype):
    quick = ["demo", "--epochs", "2", "--repeats", "1"]
    text = output_of(capsys, *quick, "--device", device, "--dtype", dtype)
    assert max(map(len, text.splitlines())) <= 100
    for example in demo.EXAMPLES:
        row = re.search(rf"^{example.name} +{device} .*$", text, re.MULTILINE).group()
        assert re.search(r" \d+\.\d\d( +\d+\.\d){2} +\d+\.\d x  ", row)
        theirs, ours, difference = map(float, row.split()[-3:])
        assert theirs == pytest.approx(ours, abs=1e-2)
        assert difference < (1e-4 if dtype == "float32" else 1e-12)
    assert "weighted avg" in text


@pytest.mark.parametrize("wrong", [1.0, np.nan])
def test_demo_shows_no_times_where_results_differ(capsys, monkeypatch, wrong):
    monkeypatch.setattr(demo, "_difference", lambda theirs, ours: wrong)
    assert main(["demo", "--epochs", "1", "--device", "reference"]) == 1
    printed = capsys.readouterr()
    assert "digits: the losses of fastmlp and scikit-learn differ" in printed.err
    assert "speed-up" not in printed.out


def test_curves_of_other_lengths_differ():
    class Fitted:
        def __init__(self, *losses):
            self.loss_curve_ = losses

    assert demo._difference(Fitted(1.0, 0.5), Fitted(1.0)) == np.inf
    assert demo._difference(Fitted(1.0, 0.5), Fitted(1.0, 0.25)) == 0.25


def test_demo_with_the_jit_off(capsys, jit_disabled):
    assert "NUMBA_DISABLE_JIT is set" in output_of(capsys, "demo", status=1)


def test_an_interrupt_that_a_fit_swallows_is_heard():
    class Interrupted:
        def fit(self, X, y):
            warnings.warn("Training interrupted by user.", stacklevel=2)

    with pytest.raises(KeyboardInterrupt):
        warmup.fit_or_interrupt(Interrupted(), None, None)
