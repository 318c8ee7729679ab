"""What an operator deploys with: complete, least-privileged, and true to the code.

Structure is read from the text, so that the rules hold without any tool; an installed validator runs too.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from chassis.embedded import free_port
from chassis.settings import SHARED_FIELDS, variables
from tastytrades import env_example

ROOT = Path(__file__).parents[1]
DEPLOY, BASE = ROOT / "deploy", ROOT / "deploy" / "k8s" / "base"
SERVICES = sorted(path.parent.name for path in ROOT.glob("services/*/pyproject.toml"))
EDGES = {"marketdata", "executor", "guardian"}
COMPOSE = (ROOT / "docker-compose.yml").read_text()
OPTIONAL = {"TT_GATEWAY_DEMO_PASSWORD", "TT_GUARDIAN_BROKER_GRANT_SECRET", "TT_GUARDIAN_BROKER_GRANT_TOKEN"}
"""Secrets that not every mode has."""
FROM_THE_IMAGE = {"health_port", "instance", "static_dir"}
"""Settings that the image or the orchestrator sets."""


def blocks(text: str, indent: int) -> dict[str, str]:
    """Name → text of each mapping entry that stands at this indentation."""
    parts = re.split(rf"^ {{{indent}}}([\w-]+):", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


PARTS = blocks(COMPOSE.partition("\nservices:\n")[2].partition("\nsecrets:\n")[0], 2)


def tool(name: str) -> str:
    """Path of a program, or skip the test."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TT_", "NATS_", "POSTGRES_"))}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment | more)


# every service, everywhere


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_deployed(service: str) -> None:
    """A new service that an orchestrator, the bus or Prometheus does not know fails here."""
    assert f'command: ["python", "-m", "{service}"]' in PARTS[service]
    assert f'command: ["python", "-m", "{service}"]' in (BASE / f"{service}.yaml").read_text()
    assert f"  - {service}.yaml\n" in (BASE / "kustomization.yaml").read_text()
    assert f"- {service}:8080\n" in (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    assert f"TT_{service.upper()}_HEALTH_PORT=8080 \\\n" in (DEPLOY / "Dockerfile").read_text()
    assert (
        f"user: {service}, password: $NATS_{service.upper()}_PASSWORD," in (DEPLOY / "nats" / "nats.conf").read_text()
    )
    assert service in env_example.NATS_USERS


@pytest.mark.parametrize("service", SERVICES)
def test_compose_hands_on_every_setting(service: str) -> None:
    """Whatever .env.example lists can be set in .env, and reaches the one service that reads it."""
    found = variables(env_example.settings_classes()[service])
    own = {name for name, field in found.items() if field not in SHARED_FIELDS | FROM_THE_IMAGE}
    assert own - set(re.findall(r"^      (TT_\w+):", PARTS[service], re.MULTILINE)) == set()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_uses_the_ledger_has_a_login_of_its_own(service: str) -> None:
    """Its role in the code, its login in roles.sql, and its address in Compose and Kubernetes belong together."""
    code = (ROOT / "services" / service / "src" / service / "service.py").read_text()
    roles = (DEPLOY / "postgres" / "roles.sql").read_text()
    role = re.search(r'role="(\w+)"', code)
    compose, manifest = PARTS[service], (BASE / f"{service}.yaml").read_text()
    assert bool(role) == (f"postgresql://{service}:" in compose) == (f"postgresql://{service}:" in manifest)
    assert bool(role) == ('tastytrades/database: "yes"' in manifest)
    if role:
        assert re.search(rf"CREATE ROLE {service} LOGIN NOINHERIT .*IN ROLE {role[1]};", roles)
        assert service in env_example.DATABASE_LOGINS


def test_only_the_edges_get_the_brokers_credentials() -> None:
    """Another service cannot reach the broker, even by mistake; nothing gets the whole .env."""
    assert {name for name, text in PARTS.items() if "*broker]" in text} == EDGES
    assert {name for name, text in PARTS.items() if re.search(r"^      TT_BROKER", text, re.MULTILINE)} == set()
    assert {name for name, text in PARTS.items() if "TT_BROKER" in text} == {"tastysim"}
    assert {path.stem for path in BASE.glob("*.yaml") if re.search("broker-grant|TT_BROKER", path.read_text())} == EDGES
    assert {path.stem for path in BASE.glob("*.yaml") if 'tastytrades/broker: "yes"' in path.read_text()} == EDGES
    assert "env_file" not in COMPOSE


def test_every_variable_is_a_known_setting() -> None:
    """A misspelt variable would stop a service at its start."""
    texts = [
        COMPOSE,
        (DEPLOY / "Dockerfile").read_text(),
        *(path.read_text() for path in DEPLOY.rglob("k8s/**/*.yaml")),
    ]
    used = set(re.findall(r"\bTT_[A-Z][A-Z_]+\b", "\n".join(texts)))
    assert used - env_example.known_variables() == set()


def test_no_secret_is_written_down() -> None:
    """Compose demands each from .env, Kubernetes refers to it."""
    pairs = re.findall(r"^ +(\w*(?:PASSWORD|SECRET|TOKEN)\w*):(.*)$", COMPOSE, re.MULTILINE)
    assert len(pairs) > 15
    for name, value in pairs:
        assert re.fullmatch(r" \$\{\w+:\?.+\}", value) or (name in OPTIONAL and not value), name
    for path in (DEPLOY / "k8s").rglob("*.yaml"):
        assert not re.search("kind: Secret|secretGenerator", path.read_text()), path


def test_every_container_of_compose_is_guarded() -> None:
    """Read-only root, no capabilities, no new privileges, limits; NATS, PostgreSQL and Valkey are not published."""
    head = COMPOSE.partition("\nservices:\n")[0]
    for wanted in ("read_only: true", "cap_drop: [ALL]", "no-new-privileges:true", 'user: "10001:10001"'):
        assert wanted in head
    for name, text in PARTS.items():
        assert re.search(r"<<: (\*guarded|\*service|\[\*with-broker, \*service\])", text), name
        assert re.search(r"limits: \{ cpus: .*memory: .*pids: ", text), name
        assert ("ports:" in text) == (name in {"gateway", "prometheus", "grafana"}), name
    assert COMPOSE.count("ports: [") == COMPOSE.count("${PUBLISH_ADDRESS:-127.0.0.1}:")


# .env


def test_the_example_of_the_environment_is_current() -> None:
    """`python -m tastytrades.env_example > .env.example` after a setting changed."""
    assert (ROOT / ".env.example").read_text() == env_example.render()


def test_make_env_gives_compose_everything_it_demands() -> None:
    """Each empty value gets a secret of its own that begins with a letter, as NATS wants."""
    made = run(DEPLOY / "make-env").stdout
    given = dict(line.split("=", 1) for line in made.splitlines() if re.match("[A-Z]", line))
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE)) <= set(given)
    secrets = [value for name, value in given.items() if re.search("PASSWORD|SECRET|TOKEN", name)]
    assert len(secrets) == len(set(secrets)) > 15
    assert all(re.fullmatch("s[0-9a-f]{48}", value) for value in secrets)


def test_compose_is_valid(tmp_path: Path) -> None:
    """Docker Compose takes the file with that .env, and refuses it without."""
    compose = tool("docker-compose")
    (tmp_path / "env").write_text(run(DEPLOY / "make-env").stdout)
    everything = ("--profile", "sim", "--profile", "traces", "--profile", "paging")
    valid = run(compose, "--env-file", tmp_path / "env", *everything, "config", "--format", "json")
    assert valid.returncode == 0, valid.stderr
    services = json.loads(valid.stdout)["services"]
    environments = {name: each.get("environment", {}) for name, each in services.items()}
    assert {name for name, each in environments.items() if "TT_BROKER_REFRESH_TOKEN" in each} == EDGES
    assert {name for name, each in services.items() if "broker" in each["networks"]} == EDGES
    (tmp_path / "empty").write_text("")
    missing = run(compose, "--env-file", tmp_path / "empty", "config", "-q")
    assert missing.returncode != 0
    assert "see deploy/make-env" in missing.stderr


# Kubernetes and the image


RESTRICTED = (
    "runAsNonRoot: true",
    "readOnlyRootFilesystem: true",
    "allowPrivilegeEscalation: false",
    "- ALL",
    "type: RuntimeDefault",
    "automountServiceAccountToken: false",
    "limits:",
    "requests:",
)


def build(overlay: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run(tool("kubectl"), "kustomize", folder / "k8s" / "overlays" / overlay)


def test_live_does_not_build_until_a_person_has_written_so(tmp_path: Path) -> None:
    """The committed files alone never trade with real money."""
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns(".env"))
    refused = build("live", tmp_path / "deploy")
    assert refused.returncode != 0
    assert ".env" in refused.stderr
    (tmp_path / "deploy" / "k8s" / "overlays" / "live" / ".env").write_text("TT_MODE=live\n")
    built = build("live", tmp_path / "deploy")
    assert built.returncode == 0, built.stderr
    assert "TT_MODE: live" in built.stdout
    assert "tastysim" not in built.stdout
    assert not re.search("TT_MODE[=:]|value: (sim|live)", "".join(path.read_text() for path in BASE.glob("*.yaml")))


def test_the_simulated_overlay_builds_complete_and_restricted_pods() -> None:
    """Every pod: not root, read-only, no privileges, probes, resources; every name that is referred to exists."""
    built = build("paper", DEPLOY)
    assert built.returncode == 0, built.stderr
    documents = [f"{each}\n" for each in built.stdout.split("\n---\n")]
    pods = [each for each in documents if re.search(r"^kind: (Deployment|StatefulSet|Job)$", each, re.MULTILINE)]
    assert len(pods) == len(SERVICES) + 4
    for pod in pods:
        for wanted in RESTRICTED:
            assert wanted in pod
        assert "readinessProbe:" in pod or "kind: Job" in pod
    for service in SERVICES:
        of_it = [each for each in documents if f"app.kubernetes.io/name: {service}\n" in each]
        kinds = {re.search(r"^kind: (\w+)$", each, re.MULTILINE)[1] for each in of_it}  # type: ignore[index]
        assert {"Deployment", "Service", "PodDisruptionBudget"} <= kinds
        pod = next(each for each in of_it if "kind: Deployment" in each)
        assert "path: /healthz" in pod
        assert "path: /readyz" in pod
    default_deny = next(each for each in documents if "name: default-deny" in each)
    assert "podSelector: {}" in default_deny
    assert "- Ingress" in default_deny
    assert "- Egress" in default_deny
    made = set(re.findall(r"^kind: ConfigMap\nmetadata:\n(?:  .*\n)*?  name: (\S+)", built.stdout, re.MULTILINE))
    used = set(re.findall(r"config(?:MapKeyRef|MapRef|Map):\n +(?:key: \S+\n +)?name: (\S+)", built.stdout))
    assert used == made


@pytest.mark.parametrize("overlay", ["paper", "live"])
def test_the_manifests_fit_the_schema_of_kubernetes(overlay: str, tmp_path: Path) -> None:
    """Strictly: a misspelt optional field is an error."""
    validate = tool("kubernetes-validate")
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "deploy" / "k8s" / "overlays" / "live" / ".env").write_text("TT_MODE=live\n")
    (tmp_path / "out.yaml").write_text(build(overlay, tmp_path / "deploy").stdout)
    checked = run(validate, "-k", "1.37", "--strict", tmp_path / "out.yaml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_image_is_built_from_files_that_exist_and_are_sent() -> None:
    """Every COPY of the checkout has a source that .dockerignore lets through."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [
        word for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.MULTILINE) for word in line.split()[:-1]
    ]
    assert len(sources) >= 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in sent), source
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)[-1].startswith("python:3.11-")


def test_the_dockerfile_passes_hadolint() -> None:
    """The linter has nothing to say."""
    checked = run(tool("hadolint"), DEPLOY / "Dockerfile")
    assert checked.returncode == 0, checked.stdout


def test_every_yaml_file_parses() -> None:
    """Those without a validator of their own included."""
    yaml: ModuleType = pytest.importorskip("yaml", reason="PyYAML is not installed")
    files = [ROOT / "docker-compose.yml", *DEPLOY.rglob("*.yml"), *DEPLOY.rglob("*.yaml")]
    assert len(files) > 20
    for path in files:
        assert list(yaml.safe_load_all(path.read_text())), path


# Prometheus and Grafana


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as the code declares it: the names it is exposed under, and its labels."""

    names: frozenset[str]
    labels: frozenset[str]


def declared() -> Iterator[Metric]:
    """Every metric of every service and of the chassis."""
    suffixes = {"Counter": ("",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
    sources = [*ROOT.glob("services/*/src/*/metrics.py"), *ROOT.glob("libs/chassis/src/chassis/*.py")]
    for node in (node for path in sources for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in suffixes:
            name = ast.literal_eval(node.args[0])
            labels = ast.literal_eval(node.args[2]) if len(node.args) > 2 else []
            yield Metric(frozenset(name + suffix for suffix in suffixes[node.func.id]), frozenset(labels))


def asked() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression: of every alert and every panel."""
    rules = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    for rule in re.split(r"^      - alert: ", rules, flags=re.MULTILINE)[1:]:
        name, _, body = rule.partition("\n")
        yield name, body.partition("expr:")[2].partition("labels:")[0]
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.stem}: {panel['title']}", target["expr"]


def test_every_metric_that_is_asked_for_exists_with_its_labels() -> None:
    """An alert on a metric nobody exposes would never fire."""
    labels = {name: metric.labels for metric in declared() for name in metric.names}
    expressions = list(asked())
    assert len(expressions) > 80
    for where, expression in expressions:
        used = set(re.findall(r"\btt_\w+", expression))
        assert used <= set(labels), f"{where}: {used - set(labels)}"
        own = used or set(re.findall(r"\b(?:up|ALERTS|process_\w+)\b", expression))
        assert own or "vector" in expression, where
        for name, matchers in re.findall(r"\b(tt_\w+)\{([^}]*)\}", expression):
            named = set(re.findall(r"(\w+)\s*[=!]~?", matchers))
            assert named <= labels[name] | {"job", "instance"}, f"{where}: {named}"
        grouped = {each.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for each in group.split(",")}
        known = frozenset[str]().union(*(labels[name] for name in used)) | {"le", "instance", ""}
        assert grouped <= known, f"{where}: {grouped - known}"


def test_every_alert_is_explained_in_the_runbook() -> None:
    """Whoever is woken finds what it means and what to do."""
    text = (DEPLOY / "prometheus" / "alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", text)
    assert len(alerts) == len(set(alerts)) == text.count("severity:") == text.count("summary:")
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    assert [each for each in alerts if f"| {each} |" not in runbook] == []


def test_the_alerts_fire_when_they_should() -> None:
    """promtool plays series to the rules."""
    promtool = tool("promtool")
    for command in (("check", "rules", "alerts.yml"), ("test", "rules", "alerts.test.yml")):
        done = run(promtool, *command[:2], DEPLOY / "prometheus" / command[2])
        assert done.returncode == 0, done.stdout + done.stderr
    done = run(promtool, "check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_are_whole() -> None:
    """Panels are numbered once, do not overlap, and ask the provisioned data source."""
    uid = "prometheus"
    assert f"uid: {uid}" in (DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    dashboards = [json.loads(path.read_text()) for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")]
    assert {each["uid"] for each in dashboards} == {"overview", "orders", "market-data", "risk"}
    for dashboard in dashboards:
        panels = dashboard["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for panel in panels
            for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
            for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        sources = {target["datasource"]["uid"] for panel in panels for target in panel.get("targets", [])}
        assert sources == {uid}


# the programs of the image


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_healthcheck_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    """Ready is 0; not ready, and nobody there, are 1 with the reason."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = self.path == "/sim/health"
            self.send_response(200 if ready else 503)
            self.end_headers()
            self.wfile.write(b"ready" if ready else b"feed: no chain read yet")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    healthcheck = script("healthcheck")
    try:
        assert healthcheck.main("/sim/health", server.server_port) == 0
        assert healthcheck.main("/readyz", server.server_port) == 1
    finally:
        server.shutdown()
        server.server_close()
    assert healthcheck.main("/readyz", free_port()) == 1
    said = capsys.readouterr().out
    assert "feed: no chain read yet" in said
    assert "no answer on port" in said
