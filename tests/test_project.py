"""The project's files agree with each other: dependencies, notebooks, parameters, contents, commands."""

import ast
import re
import runpy
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import networkx as nx
import papermill
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import srtlib
from srtlib.params import SIZES, SizeParams, load_params
from srtlib.paths import project_root

ROOT = project_root()
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"pytorch": "torch"}  # conda's name -> pip's name
RETURNS_NOTHING = {"check_parameters"}  # a cell that ends in such a call has no output

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read_yaml(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def requirements() -> list[Requirement]:
    """Every requirement of pyproject.toml, extras included, less the project itself."""
    extras = PYPROJECT["optional-dependencies"].values()
    lines = [*PYPROJECT["dependencies"], *(line for extra in extras for line in extra)]
    return [r for r in map(Requirement, lines) if r.name != PYPROJECT["name"]]


def code_cells(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code"]


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    """Every call below `tree` with the last part of the called name."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func).rpartition(".")[2], node) for node in found]


def parameter_names(path: Path) -> set[str]:
    return set(papermill.inspect_notebook(str(path)))


# Dependencies


def test_environment_yml_agrees_with_pyproject() -> None:
    environment = read_yaml("environment.yml")
    assert environment["name"] == PYPROJECT["name"]
    conda = [Requirement(line) for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    wanted = {canonicalize_name(r.name): r.specifier for r in requirements()}
    wanted |= {"python": Requirement("python" + PYPROJECT["requires-python"]).specifier}
    names = {CONDA_NAMES.get(r.name, r.name): r.specifier for r in conda}
    assert {"python", "pip"} <= set(names)
    assert {name: wanted[name] for name in names if name != "pip"} == {
        name: specifier for name, specifier in names.items() if name != "pip"
    }
    assert pip == ["-c constraints.txt", "-e .[dev]"]
    assert "dev" in PYPROJECT["optional-dependencies"]


def test_every_requirement_is_pinned_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", pin
        assert "+" not in specifier.version, f"{pin}: a local version installs nowhere else"
        versions[canonicalize_name(pin.name)] = specifier.version
    assert len(versions) == len(pins), "a package is pinned twice"
    for requirement in requirements():
        version = versions.get(canonicalize_name(requirement.name))
        assert version, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(version), f"{requirement} excludes the pinned {version}"


def test_dev_extra_holds_every_extra_that_tests_and_book_need() -> None:
    (own,) = [r for r in map(Requirement, PYPROJECT["optional-dependencies"]["dev"]) if r.name == PYPROJECT["name"]]
    assert "book" in own.extras
    assert own.extras <= set(PYPROJECT["optional-dependencies"])


# Notebooks


@every_notebook
def test_notebook_is_stored_as_it_ran_from_top_to_bottom(path: Path) -> None:
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        errors = [output for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in tags, cell.source
        assert "injected-parameters" not in tags, "store the notebook with its default parameters"


@every_notebook
def test_cells_that_show_something_are_stored_with_outputs(path: Path) -> None:
    due = 0
    for cell in code_cells(path):
        last = ast.parse(cell.source).body[-1]
        silent = cell.source.rstrip().endswith(";") or not isinstance(last, ast.Expr)
        if silent or any(name in RETURNS_NOTHING for name, _ in calls(last)):
            continue
        due += 1
        assert cell.outputs, f"no stored output:\n{cell.source}"
    assert due, "the notebook shows nothing"


@every_notebook
def test_parameters_cell_explains_every_parameter(path: Path) -> None:
    (cell,) = [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    assert all(isinstance(s, ast.Assign | ast.AnnAssign) for s in statements), "only assignments belong there"
    parameters = papermill.inspect_notebook(str(path))
    assert len(parameters) == len(statements) > 0
    assert [name for name, p in parameters.items() if not p["help"]] == [], "parameters without a comment"


@every_notebook
def test_notebook_checks_exactly_its_own_parameters(path: Path) -> None:
    checks = [
        call for cell in code_cells(path) for name, call in calls(ast.parse(cell.source)) if name == "check_parameters"
    ]
    (check,) = checks
    assert {ast.literal_eval(argument) for argument in check.args[1:]} == parameter_names(path)


@every_notebook
def test_notebook_reads_nothing_relative_to_the_current_directory(path: Path) -> None:
    for cell in code_cells(path):
        tree = ast.parse(cell.source)
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        assert not [text for text in texts if text.startswith(("./", "../"))], cell.source
        for name, call in calls(tree):
            assert name not in {"getcwd", "chdir", "cwd"}, cell.source
            first = call.args[0] if call.args else None
            if name in {"open", "Path"} or name.startswith("read_"):
                assert not isinstance(first, ast.Constant), f"{name} of a fixed path:\n{cell.source}"


# Parameters of a size


def test_there_is_one_valid_params_file_per_size() -> None:
    assert {path.stem for path in (ROOT / "params").glob("*.yaml")} == set(SIZES)
    for size in (*SIZES, *map(str, (ROOT / "params" / "studies").glob("*.yaml"))):
        load_params(size)


def test_sections_of_the_params_are_notebooks_with_a_size() -> None:
    sized = {path.stem for path in NOTEBOOKS if "size" in parameter_names(path)}
    assert set(SizeParams.model_fields) - {"grids"} <= sized
    for path in NOTEBOOKS:
        size = papermill.inspect_notebook(str(path)).get("size")
        assert size is None or ast.literal_eval(size["default"]) == "S", "the book is built at size S"


# Book and commands


def test_table_of_contents_names_every_notebook_and_only_files_that_exist() -> None:
    toc = read_yaml("_toc.yml")
    parts = [toc, *toc.get("parts", [])]
    files = [toc["root"], *(chapter["file"] for part in parts for chapter in part.get("chapters", []))]
    assert len(files) == len(set(files))
    for name in files:
        assert any((ROOT / f"{name}{suffix}").is_file() for suffix in (".md", ".ipynb")), name
    assert {f"book/{path.stem}" for path in NOTEBOOKS} <= set(files)


def test_the_front_page_lists_the_pages_in_the_order_of_the_sidebar_under_their_own_names() -> None:
    files = [chapter["file"] for part in read_yaml("_toc.yml")["parts"] for chapter in part["chapters"]]
    front = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(.*?)\]\((.*?)\.(?:md|ipynb)\) \|", front, flags=re.MULTILINE)
    assert [f"book/{page}" for _, page in rows] == [file for file in files if "/api/" not in file]
    assert {name for name, _ in rows} == {""}, "a link without words bears the name of the page"


def test_every_module_and_every_public_name_has_its_entry_in_the_library_reference() -> None:
    reference = runpy.run_path(str(ROOT / "book" / "_ext" / "reference.py"))
    shown = [module for block in reference["blocks"]() for module in reference["modules"](*block)]
    public = [path for path in modules() if not path.stem.startswith("_")]
    assert sorted(shown) == sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in public)
    packages = [".".join(path.parent.relative_to(ROOT).parts) for path in ROOT.glob("srtlib/**/__init__.pyi")]
    offered = [(module, name) for package in packages for name, module in reference["public_names"](package).items()]
    assert offered
    assert [at for at in offered if at[0] not in shown or not reference["summary"](*at)] == [], "not documented"


def test_the_figure_of_the_readme_shows_the_recorded_runs(tmp_path: Path) -> None:
    """It names the runs that it was drawn from; `make frontier` draws it anew."""
    script = runpy.run_path(str(ROOT / "book" / "_ext" / "frontier.py"))
    script["draw"](tmp_path / "frontier.svg")
    for name in ("frontier.svg", "frontier-dark.svg"):
        stored = (ROOT / "book" / "_static" / name).read_text(encoding="utf-8")
        assert f"<dc:description>{script['source']()}</dc:description>" in stored
        assert (tmp_path / name).read_text(encoding="utf-8").count("<path") == stored.count("<path")
        assert f'"book/_static/{name}"' in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_design_is_small_and_has_no_circle() -> None:
    imports = runpy.run_path(str(ROOT / "book" / "_ext" / "design.py"))["imports"]()
    assert len(imports) <= 16
    assert 7 <= sum(package for _, package in imports.nodes(data="package")) <= 9
    assert nx.is_directed_acyclic_graph(imports)


def test_commands_in_the_readme_and_in_ci_exist() -> None:
    command = re.compile(r"\bmake ([a-z][a-z-]*)")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    readme = set(command.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"scaling", "test"} <= readme <= targets
    (loop,) = re.findall(r"for target in (.*);", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert set(loop.split()) <= readme


def test_citation_has_the_package_version() -> None:
    assert read_yaml("CITATION.cff")["version"] == srtlib.__version__


# House rules


@cache
def modules() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "srtlib").rglob("*.py"))}


def public_callables(body: list[ast.stmt], within: str = "") -> Iterator[tuple[str, list[str], str]]:
    """Name, arguments (but self and cls) and docstring of every public function and method, not of properties."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_callables(node.body, f"{within}{node.name}.")
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            given = node.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
            names = [argument.arg for argument in named if argument and argument.arg not in ("self", "cls")]
            yield within + node.name, names, ast.get_docstring(node) or ""


def documented(docstring: str) -> list[str]:
    """The arguments that a docstring's section Args has a line for; one line may be for several."""
    section = re.search(r"^Args:\n((?: +.*\n?)+)", docstring, flags=re.MULTILINE)
    heads = re.findall(r"^    (\S[^:]*):", section[1], flags=re.MULTILINE) if section else []
    return [name.strip(" *") for head in heads for name in head.split(",")]


def test_no_module_is_longer_than_a_room() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    assert {str(path): n for path, n in lines.items() if n > 400} == {}


def test_no_class_is_longer_than_half_a_room() -> None:
    lines = {
        f"{path}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    assert {name: n for name, n in lines.items() if n > 200} == {}


def test_no_function_or_class_bears_the_name_of_a_module_beside_it() -> None:
    named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    shared = {
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, tree in modules().items()
        for node in tree.body
        if isinstance(node, named) and any((path.parent / name).exists() for name in (node.name, f"{node.name}.py"))
    }
    assert shared == set()


def test_every_argument_of_a_public_function_of_more_than_one_is_documented_and_no_other() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name} takes {names}, and documents {found}"
        for path, tree in modules().items()
        for name, names, docstring in public_callables(tree.body)
        if sorted(found := documented(docstring)) != sorted(names) and (len(names) > 1 or found)
    ]
    assert wrong == [], "\n".join(wrong)
