"""The rules of CONTRIBUTING.md that a program can check."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBS = sorted(path.name for path in (ROOT / "libs").iterdir() if (path / "pyproject.toml").exists())
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
MEMBERS = [
    *(ROOT / "libs" / name for name in LIBS),
    *(ROOT / "services" / name for name in SERVICES),
    *sorted(path.parent for path in ROOT.glob("sims/*/pyproject.toml")),
]
FORBIDDEN_FILES = {
    "utils.py",
    "helpers.py",
    "common.py",
    "misc.py",
    "constants.py",
    "enums.py",
    "types.py",
    "manager.py",
}
PURE_IMPORTS = {"schemas", "optionmath", "strategies", "ledger", "numpy", "pydantic", "scipy"}
STANDARD_FILES = ("__main__.py", "settings.py", "service.py", "handlers.py", "metrics.py")


def sources(member: Path) -> Iterator[Path]:
    return (path for path in sorted((member / "src").rglob("*.py")) if "node_modules" not in path.parts)


def imported(path: Path) -> set[str]:
    """Top-level names a module imports, those for type checking included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_never_imports_another(service: str) -> None:
    """Services meet on the bus."""
    others = set(SERVICES) - {service}
    for path in sources(ROOT / "services" / service):
        assert not imported(path) & others, path


@pytest.mark.parametrize("library", LIBS)
def test_a_library_never_imports_a_service(library: str) -> None:
    """Libraries are imported and never run; services are run and never imported."""
    for path in sources(ROOT / "libs" / library):
        allowed = {"tastysim"} if library == "testkit" else set()
        assert not imported(path) & ((set(SERVICES) | {"tastysim", "tastytrades"}) - allowed), path


def test_the_dependency_direction_holds() -> None:
    """schemas ← optionmath ← strategies; schemas ← ledger; tastyclient stands alone."""
    forbidden = {
        "schemas": {"optionmath", "strategies", "ledger", "tastyclient", "chassis", "testkit"},
        "optionmath": {"strategies", "ledger", "tastyclient", "chassis", "testkit"},
        "strategies": {"ledger", "tastyclient", "chassis", "testkit"},
        "tastyclient": set(LIBS) - {"tastyclient"},
        "chassis": {"strategies", "optionmath", "ledger", "tastyclient", "testkit"},
    }
    for library, names in forbidden.items():
        for path in sources(ROOT / "libs" / library):
            assert not imported(path) & names, path


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_a_member_declares_what_it_imports(member: Path) -> None:
    """A service installed alone finds every workspace library it imports."""
    project = tomllib.loads((member / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[\[<>=! ]", each)[0] for each in project["dependencies"]}
    needed = {
        f"tastytrades-{name}"
        for path in sources(member)
        for name in imported(path) & (set(LIBS) | {"tastysim"})
        if name != member.name and not (member.name == "testkit" and name in ("ledger", "tastysim"))
    }
    assert needed <= declared, f"{member.name} imports {sorted(needed - declared)} without declaring it"


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_files(service: str) -> None:
    """A reader who knows one service knows them all."""
    package = ROOT / "services" / service / "src" / service
    missing = [name for name in STANDARD_FILES if not (package / name).exists()]
    assert not missing
    assert (package / "domain.py").exists() or (package / "domain").is_dir()
    assert (ROOT / "services" / service / "README.md").exists()


@pytest.mark.parametrize("service", SERVICES)
def test_the_domain_is_pure(service: str) -> None:
    """Decisions know no bus, no database, no clock and no settings of the outside."""
    package = ROOT / "services" / service / "src" / service
    files = [package / "domain.py"] if (package / "domain.py").exists() else sorted((package / "domain").rglob("*.py"))
    for path in files:
        third_party = {name for name in imported(path) if name not in _standard_library() and name != service}
        assert third_party <= PURE_IMPORTS, f"{path}: {sorted(third_party - PURE_IMPORTS)}"
        assert not re.search(r"datetime\.now\(|time\.time\(|asyncio\.sleep\(", path.read_text()), path


def _standard_library() -> set[str]:
    import sys

    return set(sys.stdlib_module_names)


def test_no_drawer_files() -> None:
    """A file is named for what it does."""
    for member in [*MEMBERS, ROOT]:
        for path in sources(member):
            assert path.name not in FORBIDDEN_FILES, path


def test_subjects_come_from_one_file() -> None:
    """No service spells a subject itself."""
    pattern = re.compile(r"""["'](?:md|scan|cmd|fact|ana|ctl|hb|dlq)\.[a-z{*>]""")
    for member in [*(ROOT / "services" / name for name in SERVICES), ROOT]:
        for path in sources(member):
            code = "\n".join(
                line for line in path.read_text().splitlines() if not line.lstrip().startswith(("#", '"""'))
            )
            found = [match.group() for match in pattern.finditer(code)]
            assert not found, f"{path}: {found}"


def test_every_metric_is_declared_in_metrics_py() -> None:
    """An operator finds every metric of a service in one file."""
    for service in SERVICES:
        for path in sources(ROOT / "services" / service):
            if path.name != "metrics.py":
                assert not re.search(r"\b(?:Counter|Gauge|Histogram|Summary)\(\s*[\"']", path.read_text()), path


def test_only_the_edges_hold_broker_credentials() -> None:
    """No other service can place an order, even by mistake; the guardian has a grant and code to cancel only."""
    for service in set(SERVICES) - {"marketdata", "executor"}:
        for path in sources(ROOT / "services" / service):
            assert "tastyclient" not in imported(path), path
            assert "refresh_token" not in path.read_text() or service in ("gateway", "guardian"), path


def test_the_repository_names_no_machine_path_and_no_registry() -> None:
    """A clone works anywhere."""
    hosts = "|".join(("pypi\\." + "org", "python" + "hosted\\.org", "registry\\." + "npmjs", "deb\\." + "debian\\.org"))
    answer = subprocess.run(
        ["git", "grep", "-nIE", f"/(work|farm)/[a-z]|{hosts}", "--", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 1, answer.stdout
