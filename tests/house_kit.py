"""The structure of the code, measured: `python -m tests.house_kit` prints the table, `test_house` holds it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOPS = ("zoo", "compress", "ui", "bench")
# Floors from the ground up; a folder may import its own floor and those below.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("zoo", "zoo.engines", "zoo.families"),
    ("compress", "compress.data"),
    ("compress.recipe",),
    ("compress.tasks", "compress.run"),
    ("compress.int8", "compress.jobs"),
    ("compress.learn", "compress.learn.pruning", "ui"),
    ("compress.results", "ui.explore", "ui.compare", "ui.compress", "ui.jobs", "ui.models"),
    ("compress.aimet", "compress.nncf", "compress.nas"),
    ("__main__", "ui.page", "ui.serve", "ui.command", "bench", "app"),
)
# As nouns they name the moment in a function, not the thing; `windows`, `scores`, `row` would say more.
PARTICIPLE = re.compile(
    "_*(found|made|told|held|known|kept|shown|named|given|taken|done|written|said|stored|drawn|seen|asked|wanted|taught"
    "|called|measured|chosen|meant|heard|sent|begun|learned|stated)"
)
TOP_FLOOR = {"compress.__main__", "zoo.__main__", "bench.__main__", "ui.page", "ui.serve", "ui.command"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the program by its dotted name."""
    found = {}
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def packages(*paths: Path) -> dict[str, set[str]]:
    """The packages of others that these files import, lazily or not, by the distributions that may hold them."""
    names = {name for path in paths for name in top_level(path)}
    others = names - sys.stdlib_module_names - {*TOPS, "app", "tests"}
    holders = packages_distributions()
    return {name: {_distribution(each) for each in holders.get(name, [name])} for name in others}


def required(path: Path) -> set[str]:
    """The distributions that a file of requirements names, those of the files that it includes aside."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return {_distribution(re.split(r"[\[<>=~!; ]", line)[0]) for line in lines if line and line[0] not in "#-"}


def _distribution(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def top_level(path: Path) -> set[str]:
    """The top-level packages that a file imports, lazily or not."""
    packages = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            packages.add(node.module.split(".")[0])
    return packages


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _nodes_under(roots: Iterator[ast.AST]) -> set[int]:
    return {id(node) for root in roots for node in ast.walk(root)}


def _in_functions(whole: ast.Module) -> set[int]:
    return _nodes_under(n for n in ast.walk(whole) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _module_named(node: ast.AST, *doors: str) -> str | None:
    """The module that a call of one of these functions names by a string."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        return str(node.args[0].value) if called in doors else None
    return None


def imports(name: str) -> Iterator[str]:
    """What a module imports, by a statement or by a name in a string, as full dotted names; `TYPE_CHECKING` aside."""
    whole = tree(modules()[name])
    typing = (n for n in ast.walk(whole) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test))
    unseen = _nodes_under(node for test in typing for node in test.body)
    for node in ast.walk(whole):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif by_name := _module_named(node, "import_module", "Lazy"):
            yield by_name


def hidden_imports() -> list[tuple[str, int]]:
    """Imports inside functions, by a statement or by `import_module("...")`: module and line."""
    return [
        (name, node.lineno)
        for name, path in modules().items()
        for inner in [_in_functions(tree(path))]
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)
        and id(node) in inner
        and (not isinstance(node, ast.Call) or _module_named(node, "import_module"))
    ]


def late_imports() -> list[tuple[str, int]]:
    """Modules that stand at the top of a file and load when they are first used (`zoo.lazily`): module and line."""
    return [
        (name, node.lineno)
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Lazy"
    ]


@cache
def arrows() -> dict[str, set[str]]:
    """By module, the modules of the program that it imports, wherever the import stands."""
    found: dict[str, set[str]] = {name: set() for name in modules()}
    for name in modules():
        for wanted in imports(name):
            while wanted and wanted not in modules():
                wanted = wanted.rpartition(".")[0]
            if wanted and wanted != name:
                found[name].add(wanted)
    return found


def circles() -> list[list[str]]:
    """Groups of modules that import each other in a circle, the largest first (Tarjan's components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in arrows()[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in arrows():
        if name not in index:
            visit(name)
    return sorted(groups, key=len, reverse=True)


def folder(name: str) -> str:
    """The folder of a module; a package's `__init__` lies in itself."""
    return name if modules()[name].name == "__init__.py" else name.rpartition(".")[0]


def floor(name: str) -> int:
    """How high a module stands."""
    if name in TOP_FLOOR:
        return len(FLOORS) - 1
    place = folder(name)
    while place:
        for height, rooms in enumerate(FLOORS):
            if place in rooms:
                return height
        place = place.rpartition(".")[0]
    raise ValueError(f"{name} stands on no floor")


def upward() -> list[tuple[str, str]]:
    """Arrows to a higher floor."""
    return sorted((a, b) for a, others in arrows().items() for b in others if floor(b) > floor(a))


def flat(package: str = "compress") -> list[str]:
    """Modules that lie in a package itself, not in a folder of it."""
    return [n for n in modules() if n.rpartition(".")[0] == package and modules()[n].name != "__init__.py"]


def _functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]


def any_parameters() -> list[tuple[str, str, str]]:
    """Parameters typed `Any`: module, function, parameter."""
    return [
        (name, node.name, each.arg)
        for name, node in _functions()
        for each in _parameters(node)
        if isinstance(each.annotation, ast.Name) and each.annotation.id == "Any"
    ]


def wide_functions(most: int = 7) -> list[tuple[str, str, int]]:
    """Functions with more parameters than that, `self` and `cls` aside, outside command lines and named endpoints."""
    return [
        (name, node.name, count)
        for name, node in _functions()
        if not name.endswith(("__main__", "ui.api")) and not any("command" in ast.dump(d) for d in node.decorator_list)
        for count in [sum(each.arg not in ("self", "cls") for each in _parameters(node))]
        if count > most
    ]


def moments() -> list[tuple[str, str]]:
    """Names of variables, parameters and functions that say when and not what: participles by themselves."""
    names: list[tuple[str, str]] = []
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names += [(name, word) for word in (node.name, *(each.arg for each in _parameters(node)))]
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.append((name, node.id))
    return [(name, word) for name, word in names if PARTICIPLE.fullmatch(word)]


def lines() -> int:
    """Source lines, blank ones and comments too."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in [*modules().values(), ROOT / "app.py"])


def main() -> None:
    rings = circles()
    rows = [
        ("circles (files in the largest)", f"{len(rings)} ({len(rings[0]) if rings else 0})"),
        ("imports inside functions", str(len(hidden_imports()))),
        ("imports at the top that load at first use", str(len(late_imports()))),
        ("arrows upwards", str(len(upward()))),
        ("modules flat in compress/", str(len(flat()))),
        ("parameters typed Any", str(len(any_parameters()))),
        ("functions with 8 or more parameters", str(len(wide_functions()))),
        ("names that are participles", str(len(moments()))),
        ("source lines", f"{lines():,}"),
    ]
    for what, value in rows:
        print(f"{what:<40} {value:>10}")
    for ring in rings:
        print("circle:", ", ".join(ring))
    for pair in upward():
        print("upwards:", " -> ".join(pair))


if __name__ == "__main__":
    main()
