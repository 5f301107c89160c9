"""The house: imports flow downwards only, each floor knows what it may know, and nothing more."""

import ast
from pathlib import Path

import pytest

import fastmlp
from fastmlp.activations import Activation
from fastmlp.losses import Loss

PACKAGE = Path(fastmlp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
#: Those that import CUDA's packages; themselves they are imported when a GPU is asked for.
CUDA = [PACKAGE / "devices" / "cuda" / name for name in ("simulator.py", "toolkit.py")]
#: From the roof down; what stands on one floor does not import what stands on a higher one.
FLOORS = [
    {"__main__"},
    {"__init__"},
    {"cli"},
    {"displays", "inspect"},
    {"callbacks", "export", "inspection", "replacement"},
    {"dask"},
    {"estimators"},
    {"files", "predictor", "training"},
    {"initializers", "schedules"},
    {"model"},
    {"network"},
    {"devices"},
    {"activations", "losses", "optimizers", "regularization"},
    {"formulas"},
    {"_jit"},
    {"_linking"},
    {"_cache"},
    {"_version", "notices"},
]


#: The files of devices/, from the inside out: none imports one that stands further out.
DEVICES = [
    "compressed",
    "functions",
    "lanes",
    "device",
    "reference/activations",
    "reference/losses",
    "reference/optimizers",
    "reference/random",
    "reference/__init__",
    "cpu/vectors",
    "cpu/panels",
    "cpu/microkernel",
    "cpu/block_sizes",
    "cpu/products",
    "cpu/calls",
    "cpu/loops",
    "cpu/sources",
    "cpu/buffers",
    "cpu/layout",
    "cpu/optimizer",
    "cpu/narrow",
    "cpu/dropout",
    "cpu/layers",
    "cpu/gradients",
    "cpu/output_layer",
    "cpu/ending",
    "cpu/permutation",
    "cpu/team",
    "cpu/cores",
    "cpu/pace",
    "cpu/epoch",
    "cpu/prediction",
    "cpu/row",
    "cpu/row_gradients",
    "cpu/row_inspection",
    "cpu/single_rows",
    "cpu/value",
    "cpu/__init__",
    "presence",
    "costs",
    "cuda/simulator",
    "cuda/toolkit",
    "cuda/simulated_warp",
    "cuda/mma",
    "cuda/listed",
    "cuda/tensor",
    "cuda/layout",
    "cuda/shared",
    "cuda/vectors",
    "cuda/small_product",
    "cuda/elements",
    "cuda/updates",
    "cuda/sums",
    "cuda/position",
    "cuda/block",
    "cuda/single_block",
    "cuda/blocks",
    "cuda/cluster_memory",
    "cuda/cluster",
    "cuda/tiles",
    "cuda/phases",
    "cuda/products",
    "cuda/memory",
    "cuda/group",
    "cuda/layered",
    "cuda/runs",
    "cuda/value",
    "cuda/__init__",
    "__init__",
    "kept",
]


def room(path):
    """The room of the house that a file stands in: the first part of its path in the package."""
    return Path(path.relative_to(PACKAGE).parts[0]).stem


def floor(name):
    return next(i for i, rooms in enumerate(FLOORS) if name in rooms)


def imports(path):
    """(module, names) of every import in a file; the package's own modules begin with a dot."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if not node.level:
                yield node.module, names
                continue
            above = parts[: len(parts) - node.level]
            module = [*above, *(node.module or "").split(".")] if node.module else [*above]
            yield "." + ".".join(module), names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_flow_downwards(path):
    here = floor(room(path))
    for module, names in imports(path):
        if module.startswith("."):
            targets = [module[1:].split(".")[0]] if module != "." else names
            for target in targets:
                target = target if any(target in rooms for rooms in FLOORS) else "__init__"
                assert floor(target) >= here, f"{module} {names}"
        assert not module.startswith("fastmlp"), "inside the package, imports are relative"


def device_file(path):
    """A file of devices/ as the table names it."""
    return path.relative_to(PACKAGE / "devices").with_suffix("").as_posix()


def device_files(module, names):
    """The files of devices/ that an import reads, as the table names them."""
    if module.split(".")[:2] != ["", "devices"]:
        return
    inside = module.split(".")[2:]
    for name in names:
        candidates = [*inside, name], inside, [*inside, "__init__"]
        yield next(file for file in map("/".join, candidates) if file in DEVICES)


@pytest.mark.parametrize(
    "path", [path for path in FILES if room(path) == "devices"], ids=device_file
)
def test_devices_import_from_the_inside_only(path):
    here = DEVICES.index(device_file(path))
    for module, names in imports(path):
        for file in device_files(module, names):
            assert DEVICES.index(file) < here, f"{module} {names}"


def inside_of_devices(module, names):
    """Whether an import reaches into a device, which `fastmlp.devices` stands in front of."""
    inside = {"cpu", "cuda", "reference"}
    parts = module.split(".")
    if parts[:2] != ["", "devices"]:
        return False
    return not inside.isdisjoint(parts[2:3] or names)


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if room(path) != "devices"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_nobody_reaches_into_a_device(path):
    """Only devices/ knows what each device consists of; everything else asks `fastmlp.devices`."""
    for module, names in imports(path):
        assert not inside_of_devices(module, names), f"{module} {names}"


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if room(path) not in ("devices", "model", "cli", "__main__")],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_nobody_asks_for_a_device_by_name(path):
    """Except commands; and a fitted network that is used by itself computes on the CPU."""
    for node in ast.walk(ast.parse(path.read_text())):
        named = getattr(node, "value", None) in fastmlp.devices.DEVICES
        assert not named, f"line {node.lineno}: {node.value!r}"


def test_reaching_into_a_device_is_seen():
    for module, names, reaches in (
        (".devices.cpu.vectors", ["VECTOR_BYTES"], True),
        (".devices.cpu", ["ENTRIES", "team"], True),
        (".devices", ["load", "reference"], True),
        (".devices", ["ReferenceDevice", "load"], False),
        (".devices.device", ["Rows"], False),
    ):
        assert inside_of_devices(module, names) == reaches


def test_imports_in_devices_are_seen():
    for module, names, files in (
        (".devices.cpu.loops", ["Units", "Loop"], ["cpu/loops", "cpu/loops"]),
        (".devices.cpu", ["team", "CpuDevice"], ["cpu/team", "cpu/__init__"]),
        (".devices", ["costs", "load"], ["costs", "__init__"]),
        (".formulas.losses", ["FORMULAS"], []),
    ):
        assert list(device_files(module, names)) == files


#: The check of parameters: the public one is a decorator of functions.
NO_PUBLIC_NAME = {"_param_validation"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_floor_knows_its_own_business(path):
    above_estimators = floor(room(path)) <= floor("estimators")
    for module, names in imports(path):
        if module.split(".")[0] == "sklearn":
            assert above_estimators, "only the estimators know scikit-learn"
            private = {n for n in [*module.split("."), *names] if n.startswith("_")}
            assert private <= NO_PUBLIC_NAME, "scikit-learn's public names only"
        if path not in CUDA:
            touches = module.split(".")[0] == "cuda" or module.startswith("numba.cuda")
            assert not touches, "only the toolkit knows CUDA's packages"
    if room(path) != "_jit":
        text = path.read_text()
        for word in ("@njit", "numba.njit", "fastmath="):
            assert word not in text, "every compiler option is chosen in _jit.py"


SPECIFICATIONS = {"activations": Activation, "losses": Loss}
#: Classes of which nobody else may ask whether an object is one.
KINDS = {kind.__name__ for base in SPECIFICATIONS.values() for kind in base.__subclasses__()}


def asks_for_a_kind(node):
    """Whether an expression compares a `name`, or asks for the class of a specification."""
    if isinstance(node, ast.Compare):
        parts = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and n.attr == "name"]
        return any(ast.unparse(part.value) not in ("os", "optimizer") for part in parts)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
        asked = ast.walk(node.args[1])
        return any(getattr(n, "id", getattr(n, "attr", "")) in KINDS for n in asked)
    return False


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_asks_for_a_name_or_a_class(path):
    """What a specification is like, its attributes say: a new one needs no new question."""
    if room(path) in (*SPECIFICATIONS, "network"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        assert not asks_for_a_kind(node), f"line {node.lineno}: {ast.unparse(node)}"


def test_a_question_for_a_kind_is_seen():
    questions = (
        "loss.name == 'huber'", "'elu' in (a.name, b)", "isinstance(loss, losses.Quantile)",
        "issubclass(kind, (Step, int))",
    )  # fmt: skip
    for question in questions:
        assert asks_for_a_kind(ast.parse(question, mode="eval").body)
    assert not asks_for_a_kind(ast.parse("isinstance(loss, Loss)", mode="eval").body)


#: Rooms that use only public names of other objects, estimators above all.
GUESTS = ("callbacks", "cli", "displays", "export", "inspect", "inspection", "predictor")


def private(name):
    """Whether a name begins with an underscore, dunder names and those of named tuples aside."""
    dunder = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not dunder and name != "_fields"


def private_accesses(tree):
    """Private attributes that a file reads, except of self and cls, and private imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if getattr(node.value, "id", "") not in ("self", "cls"):
                yield node
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            name = getattr(node.args[1], "value", None)
            if isinstance(name, str) and private(name):
                yield node
        elif isinstance(node, ast.ImportFrom) and any(private(a.name) for a in node.names):
            yield node


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if room(path) in GUESTS],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_guests_touch_nothing_private(path):
    for node in private_accesses(ast.parse(path.read_text())):
        pytest.fail(f"line {node.lineno}: {ast.unparse(node)}")


def test_a_private_access_is_seen():
    for access in (
        "estimator._encode(X, y)", "a = self.network._widths", "Device()._run", "x[0]._y += 1",
        "getattr(estimator, '_fitted_as', None)", "from .base import BaseMLP, _check_weights",
    ):  # fmt: skip
        assert len(list(private_accesses(ast.parse(access)))) == 1, access
    for access in (
        "self._room", "cls._made", "estimator.__dict__", "Gradient._fields", "getattr(x, 'name')",
        "from ._axes import BLUE",
    ):  # fmt: skip
        assert not list(private_accesses(ast.parse(access))), access


def test_every_file_has_a_floor():
    rooms = {room(path) for path in FILES}
    assert rooms == set().union(*FLOORS)
    assert sorted(DEVICES) == sorted(device_file(p) for p in FILES if room(p) == "devices")


def test_every_device_is_imported_by_a_statement():
    """Tools that pack programs look for these, and miss a module imported by a computed name."""
    imported = {module for module, _ in imports(PACKAGE / "devices" / "__init__.py")}
    assert {f".devices.{name}" for name in fastmlp.devices.DEVICES} <= imported
    with pytest.raises(ValueError, match="no device 'abacus'"):
        fastmlp.devices.load("abacus")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_argument_lists_stay_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            # Kernels are called once a launch; the estimators' parameters are scikit-learn's.
            exempt = "cuda" in path.parts or path.stem in ("classifier", "regressor")
            assert len(arguments) <= 10 or exempt, f"{node.name} takes {len(arguments)}"


#: Packages that the map describes as a whole.
SUMMED_UP = {"activations", "cli", "displays", "formulas", "losses", "optimizers"}


def test_the_map_of_the_source_has_every_file():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = text.partition("## Map of the source")[2].partition("\n## ")[0].split()
    listed = {place.rstrip(":;,") for place in places}
    files = {path for path in FILES if path.relative_to(PACKAGE).parts[0] not in SUMMED_UP}
    assert not {path.name for path in files} - listed - {"__init__.py"}
