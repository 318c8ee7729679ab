"""What `tastytrades up` runs: the servers, the simulator, the services and what each is told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from chassis import embedded
from tastytrades import markets, runtime, settings_check, web
from tastytrades.kill_watch import KillWatch
from tastytrades.runtime import RuntimeFault
from tastytrades.supervisor import Child, Supervisor

SERVICES = ("marketdata", "executor", "guardian", "risk", "analyzer", "scanner", "gateway")
SERVERS = {"TT_NATS_URL": "nats", "TT_DATABASE_URL": "postgres", "TT_REDIS_URL": "valkey"}
"""Variable that replaces an embedded server → its name."""
STARTS = {"nats": embedded.start_nats, "postgres": embedded.start_postgres, "valkey": embedded.start_valkey}
WITH_BROKER = ("marketdata", "executor")
"""The only services that are given the broker's credentials; the guardian has its own, or borrows them outside live."""
GATEWAY_PORT, TASTYSIM_PORT = 8400, 8420
DEMO_USER = "demo"
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for."""

    data_dir: Path
    market: str = "model"
    """As the simulator is told it; see `tastytrades.markets`."""
    speed: float = 1.0
    seed: int | None = None
    auto: bool = False
    port: int = GATEWAY_PORT
    build_web: bool = True


@dataclass(slots=True)
class Stack:
    """A starting or running system. `start` then `watch` until told to stop, then `stop`."""

    options: Options
    report: Callable[[str, str], None]
    supervisor: Supervisor = field(init=False)
    servers: dict[str, embedded.Server] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)
    state: runtime.RunState = field(init=False)
    environment: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, str] = field(default_factory=dict)
    """Of the broker that takes the orders."""
    kill_watch: KillWatch | None = None
    quotes: dict[str, str] = field(default_factory=dict)
    """Address and credentials of another broker for the quotes, in mode paper."""

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(self.report)

    @property
    def mode(self) -> str:
        return os.environ.get("TT_MODE", "sim")

    @property
    def logs(self) -> Path:
        return self.options.data_dir / "logs"

    def start(self) -> None:
        """Start everything and return when every service says it is ready. Raises RuntimeFault or ServerStartError."""
        settings_check.check(os.environ)
        markets.check(self.options.market)
        if self.mode == "paper":
            quotes_broker(os.environ)
            paper_options(self.options, "")
        self.logs.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(1) as pool:
            built = pool.submit(web.build, self.logs / "web.log") if self.options.build_web else None
            self._start_servers()
            self.report("database", self._prepare())
            self._start_broker()
            static_dir = ""
            if built is not None:
                self.report("web", "building when changed")
                static_dir = str(built.result())
            self._start_services(static_dir)
        self._await_ready()
        self.kill_watch = KillWatch(self.environment["TT_NATS_URL"])
        self.kill_watch.start()

    def _start_servers(self) -> None:
        folder = self.options.data_dir
        given = {variable: os.environ[variable] for variable in SERVERS if os.environ.get(variable)}
        # one after the other in this thread: a server dies with the thread that started it
        for variable, name in SERVERS.items():
            if variable not in given:
                self.servers[name] = STARTS[name](folder / name, log_path=self.logs / f"{name}.log")
                given[variable] = self.servers[name].url
                self.report(name, "running")
        given["TT_DATABASE_URL"] = _with_database(given["TT_DATABASE_URL"])
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TT_")},
            **given,
            "TT_MODE": self.mode,
            "TT_DATA_DIR": str(folder),
            "TT_LOG_FORMAT": os.environ.get("TT_LOG_FORMAT", "json"),
            "PYTHONUNBUFFERED": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        for variable in ("TT_OTLP_ENDPOINT", "TT_ACCOUNTS"):
            if value := os.environ.get(variable):
                self.environment[variable] = value

    def _prepare(self) -> str:
        finished = subprocess.run(
            [sys.executable, "-m", "tastytrades.prepare"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            (self.logs / "prepare.log").write_text(finished.stdout + finished.stderr)
            last = (finished.stderr.strip().splitlines() or ["no output"])[-1]
            raise RuntimeFault(
                f"preparing the database and the streams failed: {last} (log: {self.logs / 'prepare.log'})"
            )
        return finished.stdout.strip()

    def _start_broker(self) -> None:
        own = {name: os.environ.get(name, "") for name in ("TT_BROKER_CLIENT_SECRET", "TT_BROKER_REFRESH_TOKEN")}
        if self.mode == "paper":
            self.quotes = quotes_broker(os.environ)
            self._start_simulator(paper_options(self.options, self.environment["TT_NATS_URL"]))
            return
        if url := os.environ.get("TT_BROKER_URL"):
            missing = [name for name, value in own.items() if not value]
            if missing:
                raise RuntimeFault(
                    f"TT_BROKER_URL is set but {' and '.join(missing)} is not: set it, or unset TT_BROKER_URL"
                )
            streamer = os.environ.get("TT_BROKER_STREAMER_URL", "")
            self.environment |= {"TT_BROKER_URL": url} | ({"TT_BROKER_STREAMER_URL": streamer} if streamer else {})
            self.credentials = own
            return
        if self.mode != "sim":
            raise RuntimeFault(
                f"mode {self.mode} needs a broker: set TT_BROKER_URL, TT_BROKER_STREAMER_URL, TT_BROKER_CLIENT_SECRET "
                "and TT_BROKER_REFRESH_TOKEN, or unset TT_MODE to trade in the simulator"
            )
        self._start_simulator(self.options)
        if self.options.market != "model":
            url = self.environment["TT_BROKER_URL"]
            self.environment["TT_MARKET_TIME_OFFSET_SECONDS"] = _market_time_offset(url)
            self.environment["TT_MARKETDATA_UNIVERSE"] = _underlyings(url)

    def _start_simulator(self, options: Options) -> None:
        """Start the simulator and send orders to it."""
        port = runtime.choose_port(TASTYSIM_PORT, self.ports)
        self.credentials = {
            "TT_BROKER_CLIENT_SECRET": runtime.secret(self.options.data_dir, "sim-client-secret"),
            "TT_BROKER_REFRESH_TOKEN": runtime.secret(self.options.data_dir, "sim-refresh-token"),
        }
        self.supervisor.add(
            self._child("tastysim", tastysim_environment(options, port, self.environment, self.credentials))
        )
        self.environment |= {
            "TT_BROKER_URL": f"http://127.0.0.1:{port}",
            "TT_BROKER_STREAMER_URL": f"ws://127.0.0.1:{port}/streamer",
        }
        self._await_http("tastysim", f"http://127.0.0.1:{port}/sim/health")
        self.report("tastysim", f"running, market {markets.shown(options.market)}")

    def _child(self, name: str, environment: dict[str, str]) -> Child:
        return Child(name, [sys.executable, "-m", name], environment, self.logs / f"{name}.log")

    def _start_services(self, static_dir: str) -> None:
        port = runtime.choose_port(self.options.port, self.ports)
        if port != self.options.port:
            self.report("gateway", f"port {self.options.port} is taken: using {port}")
        self.state = runtime.RunState(
            mode=self.mode,
            url=f"http://127.0.0.1:{port}",
            nats_url=self.environment["TT_NATS_URL"],
            pid=os.getpid(),
            data_dir=str(self.options.data_dir),
            broker_url=self.environment["TT_BROKER_URL"],
        )
        gateway = {
            "TT_GATEWAY_HEALTH_PORT": str(port),
            "TT_GATEWAY_STATIC_DIR": static_dir,
            "TT_GATEWAY_LOCAL_TOKEN": runtime.secret(self.options.data_dir, "local-token"),
        }
        if self.mode in ("sim", "paper"):
            gateway |= {
                "TT_GATEWAY_DEMO_USER": DEMO_USER,
                "TT_GATEWAY_DEMO_PASSWORD": runtime.secret(self.options.data_dir, "demo-password"),
            }
        for service in SERVICES:
            prefix = f"TT_{service.upper()}_"
            own = {key: value for key, value in os.environ.items() if key.startswith(prefix)}
            if service == "gateway":
                health_port = port
                own = gateway | own
            else:
                health_port = runtime.choose_port(0, self.ports)
                own |= {f"{prefix}HEALTH_PORT": str(health_port)}
            if service == "guardian":
                own = self._guardian(gateway, health_port) | own
            if service in WITH_BROKER:
                own |= self.quotes if self.quotes and service == "marketdata" else self.credentials
            self.state.health_ports[service] = health_port
            self.supervisor.add(self._child(service, self.environment | own))
        self._save_state()

    def _guardian(self, gateway: dict[str, str], port: int) -> dict[str, str]:
        """What the guardian is told, and where the gateway finds it; it borrows the grant where no money is real."""
        token = runtime.secret(self.options.data_dir, "guardian-token")
        gateway |= {"TT_GATEWAY_GUARDIAN_URL": f"http://127.0.0.1:{port}", "TT_GATEWAY_GUARDIAN_TOKEN": token}
        told = {
            "TT_GUARDIAN_TOKEN": token,
            "TT_GUARDIAN_EXECUTOR_URL": f"http://127.0.0.1:{self.state.health_ports['executor']}",
        }
        return told | ({} if self.mode == "live" else self.credentials)

    def _save_state(self) -> None:
        self.state.processes = {
            child.name: child.process.pid for child in self.supervisor.children if child.process is not None
        } | {name: server.process.pid for name, server in self.servers.items()}
        self.state.save()

    def _await_ready(self) -> None:
        for service in SERVICES:
            self._await_http(service, f"http://127.0.0.1:{self.state.health_ports[service]}/readyz")
            self.report(service, "ready")

    def _await_http(self, name: str, url: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        answer = "no answer"
        while time.monotonic() < deadline:
            self.supervisor.tick(time.monotonic())
            child = next(child for child in self.supervisor.children if child.name == name)
            if child.failures >= 3:
                raise RuntimeFault(
                    f"{name} does not stay up. The end of its log ({child.log_path}):\n{child.last_lines()}"
                )
            try:
                response = httpx.get(url, timeout=2.0, trust_env=False)
            except httpx.HTTPError:
                time.sleep(0.05)
                continue
            if response.is_success:
                return
            answer = response.text.strip()[:300]
            time.sleep(0.1)
        raise RuntimeFault(f"{name} is not ready after {READY_SECONDS:g} s: {answer} (log: {self.logs / name}.log)")

    def watch_once(self) -> None:
        """Restart what stopped, servers included; the addresses stay the same."""
        now = time.monotonic()
        before = [child.process for child in self.supervisor.children]
        for name in self.kill_watch.take_overdue() if self.kill_watch else ():
            self.supervisor.end(name, "did not confirm a stop within a second")
        self.supervisor.tick(now)
        changed = [child.process for child in self.supervisor.children] != before
        for name, server in list(self.servers.items()):
            if server.process.poll() is not None:
                self.report(name, "stopped unexpectedly: starting it again")
                self.servers[name] = self._restart_server(name, server)
                changed = True
                if name == "nats":
                    self.report("nats", self._prepare())  # its streams may be gone with its data
        if changed:
            self._save_state()

    def _restart_server(self, name: str, server: embedded.Server) -> embedded.Server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
        return STARTS[name](self.options.data_dir / name, port=port, log_path=self.logs / f"{name}.log")

    def stop(self) -> None:
        """Stop services, then the simulator, then the servers."""
        if self.kill_watch is not None:
            self.kill_watch.close()
        self.supervisor.stop()
        for name in ("valkey", "nats", "postgres"):
            if server := self.servers.pop(name, None):
                server.stop()
        (self.options.data_dir / "run.json").unlink(missing_ok=True)


def quotes_broker(environ: Mapping[str, str]) -> dict[str, str]:
    """What marketdata, and no other process, is told in mode paper: the broker of the quotes. Raises RuntimeFault."""
    needed = ("TT_BROKER_URL", "TT_BROKER_CLIENT_SECRET", "TT_BROKER_REFRESH_TOKEN")
    missing = [name for name in needed if not environ.get(name)]
    if missing:
        raise RuntimeFault(
            f"mode paper takes its quotes from a broker and {' and '.join(missing)} is not set: set it, or unset "
            "TT_MODE to trade in the simulator. Orders go to a simulator that is started here, never to that broker"
        )
    return {name: environ[name] for name in needed}


def paper_options(options: Options, nats_url: str) -> Options:
    """The simulator that takes the orders in mode paper: on the quotes of the bus. Raises RuntimeFault."""
    if options.market != "model" or options.speed != 1.0:
        raise RuntimeFault("mode paper has the broker's quotes at their own time: leave out --market and --speed")
    return replace(options, market=f"bus:{nats_url}")


def tastysim_environment(
    options: Options, port: int, environment: dict[str, str], credentials: dict[str, str]
) -> dict[str, str]:
    """What the simulator is told. A replayed file must exist; its content is checked by the simulator."""
    market = markets.check(options.market)
    own = {key: value for key, value in os.environ.items() if key.startswith("TT_TASTYSIM_")}
    folder = options.data_dir / markets.folder(market)
    base = {key: value for key, value in environment.items() if not key.startswith("TT_")}
    return (
        base
        | {
            "TT_TASTYSIM_PORT": str(port),
            "TT_TASTYSIM_SPEED": str(options.speed),
            "TT_TASTYSIM_DATA_DIR": str(folder),
            "TT_TASTYSIM_CLIENT_SECRET": credentials["TT_BROKER_CLIENT_SECRET"],
            "TT_TASTYSIM_REFRESH_TOKEN": credentials["TT_BROKER_REFRESH_TOKEN"],
        }
        | ({"TT_TASTYSIM_MARKET": market} if market != "model" else {})
        | ({"TT_TASTYSIM_SEED": str(options.seed)} if options.seed is not None else {})
        | own
    )


def _market_time_offset(url: str) -> str:
    """Seconds from now to the recorded session's own time."""
    found = httpx.get(f"{url}/sim/health", timeout=10.0, trust_env=False).json()["market_time"]
    return str(round((datetime.fromisoformat(found) - datetime.now(UTC)).total_seconds()))


def _underlyings(url: str) -> str:
    """What the recording holds."""
    names: list[str] = httpx.get(f"{url}/sim/health", timeout=10.0, trust_env=False).json()["underlyings"]
    return ",".join(names)


def _with_database(url: str) -> str:
    """The URL with a database name; an embedded server's URL may name the maintenance database."""
    base, _, name = url.rpartition("/")
    return f"{base}/tastytrades" if name in ("", "postgres") else url
