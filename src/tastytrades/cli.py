"""`tastytrades`: start the system, look at it, stop it, scan recorded chains."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from tastytrades import limits_cli, runtime
from tastytrades.runtime import RuntimeFault

app = typer.Typer(
    help="Scan option chains, trade what passes, stop when told to.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(limits_cli.app, name="limits")
console = Console()
errors = Console(stderr=True)

DataDir = Annotated[Path | None, typer.Option("--data", help="Data folder. Default: TT_DATA_DIR, else ./.data")]
_AUTO = {"sim": ", or start with --auto"}
_MEANING = {"sim": "  simulated market, simulated money", "paper": "  the broker's quotes, simulated money"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _folder(data: Path | None) -> Path:
    return data.resolve() if data else runtime.default_data_dir()


@app.command()
def up(
    data: DataDir = None,
    market: Annotated[
        str, typer.Option(help="`model` for the simulated market, `replay:FILE` for recorded chains.")
    ] = "model",
    speed: Annotated[float, typer.Option(min=0.1, max=100_000.0, help="Market seconds per second.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of the simulated market.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Arm automatic trading (sim mode only).")] = False,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the web page; a free one is found when taken.")
    ] = 8400,
    web: Annotated[bool, typer.Option("--web/--no-web", help="Build and serve the web UI.")] = True,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    from chassis.embedded import ServerStartError
    from tastytrades.stack import Options, Stack

    started = time.monotonic()
    stopping = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.set())

    def report(name: str, text: str) -> None:
        console.print(f"[dim]{time.monotonic() - started:6.1f} s[/]  [bold]{name:<10}[/] {text}", highlight=False)

    folder = _folder(data)
    with runtime.exclusive(folder):
        stack = Stack(Options(folder, market, speed, seed, auto, port, web), report)
        if auto and stack.mode != "sim":
            raise RuntimeFault(f"--auto works in sim mode only; in mode {stack.mode} arm on the page after looking")
        try:
            stack.start()
            if auto:
                report("automation", _arm_all(folder))
            _welcome(stack.state, auto, time.monotonic() - started)
            while not stopping.wait(0.2):
                stack.watch_once()
        except ServerStartError as error:
            raise RuntimeFault(str(error)) from None
        finally:
            report("all", "stopping")
            stack.stop()
            report("all", "stopped; the data stays in " + str(folder))


def _arm_all(folder: Path) -> str:
    """Arm every account, once the executor has reported its balance."""
    from tastytrades.api import Gateway

    deadline = time.monotonic() + 60
    with Gateway(folder) as gateway:
        while not (accounts := [row["account_number"] for row in gateway.get("/accounts")]):
            if time.monotonic() > deadline:
                raise RuntimeFault("no account was reported by the executor within 60 s: see `tastytrades doctor`")
            time.sleep(0.2)
        for account in accounts:
            gateway.post("/control/arm", {"account_number": account, "reason": "started with --auto"})
    return f"armed for {', '.join(accounts)}"


def _welcome(state: runtime.RunState, auto: bool, seconds: float) -> None:
    from tastytrades.stack import DEMO_USER

    lines = [
        f"[bold]{state.url}[/]",
        f"mode      {state.mode.upper()}" + _MEANING.get(state.mode, ""),
    ]
    if state.mode in ("sim", "paper"):
        lines.append(f"login     {DEMO_USER} / {runtime.secret(Path(state.data_dir), 'demo-password')}")
    lines += [
        f"trading   {'automatic' if auto else 'automation is off: arm it on the page' + _AUTO.get(state.mode, '')}",
        f"started   in {seconds:.0f} s; logs in {state.data_dir}/logs; Ctrl-C stops everything",
    ]
    console.print(Panel("\n".join(lines), title="TastyTrades Option Trader", expand=False))


@app.command()
def sim(
    data: DataDir = None,
    market: Annotated[
        str,
        typer.Option(help="`model`, `replay:FILE`, `replay-minutes:FILE` (`@DAY`, `@FIRST..LAST`), or `bus:NATS_URL`."),
    ] = "model",
    speed: Annotated[float, typer.Option(min=0.1, max=100_000.0, help="Market seconds per second.")] = 1.0,
    paused: Annotated[bool, typer.Option("--paused", help="Start with time standing still.")] = False,
    fills: Annotated[
        str | None,
        typer.Option(help="How orders fill: book, model, immediate, delayed:SECONDS, partial, never, reject."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the market.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="A free one is found when it is taken.")] = 8420,
    scenario: Annotated[
        str | None, typer.Option(help="What goes wrong when: a TOML file, or bad-day, order-path, feed.")
    ] = None,
) -> None:
    """Start the broker simulator alone, for any software that speaks the tastytrade API."""
    from tastytrades.stack import Options, tastysim_environment

    folder = _folder(data)
    chosen = runtime.choose_port(port, set())
    credentials = {
        "TT_BROKER_CLIENT_SECRET": runtime.secret(folder, "sim-client-secret"),
        "TT_BROKER_REFRESH_TOKEN": runtime.secret(folder, "sim-refresh-token"),
    }
    environment = tastysim_environment(Options(folder, market, speed, seed), chosen, dict(os.environ), credentials)
    environment |= {"TT_TASTYSIM_PAUSED": "true"} if paused else {}
    if fills is not None:
        environment["TT_TASTYSIM_FILLS"] = _fills(fills)
    if scenario is not None:
        environment["TT_TASTYSIM_SCENARIO"] = _scenario(scenario)
    text = (
        f"REST            http://127.0.0.1:{chosen}\n"
        f"account stream  ws://127.0.0.1:{chosen}/streamer\n"
        f"DXLink          from GET /api-quote-tokens\n"
        f"history         http://127.0.0.1:{chosen}/sim/history\n"
        f"client secret   {credentials['TT_BROKER_CLIENT_SECRET']}\n"
        f"refresh token   {credentials['TT_BROKER_REFRESH_TOKEN']}\n"
        f"account         5WT00001, simulated money; Ctrl-C stops it, its data stays in {folder}"
    )
    console.print(Panel(text, title="tastysim", expand=False), highlight=False)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "tastysim"], environment)


def _fills(text: str) -> str:
    """A way of filling orders that there is."""
    from tastysim.behaviour import Behaviour

    try:
        return str(Behaviour.parse(text))
    except ValueError as error:
        raise RuntimeFault(f"--fills: {error}") from None


def _scenario(where: str) -> str:
    """A scenario that can be read."""
    from tastysim.scenario import ScenarioError, load

    try:
        load(where)
    except ScenarioError as error:
        raise RuntimeFault(f"--scenario: {error}") from None
    return where


@app.command()
def scan(
    chains: Annotated[
        Path, typer.Option("--chains", help="Recorded chains: a Parquet or CSV file.", exists=True, dir_okay=False)
    ],
    underlying: Annotated[list[str] | None, typer.Option(help="Only these underlyings; may be repeated.")] = None,
    session: Annotated[
        str | None, typer.Option(help="Session date YYYY-MM-DD. Default: the last one in the file.")
    ] = None,
    net_liq: Annotated[float, typer.Option(min=1000.0, help="Net liq of the account, dollars.")] = 100_000.0,
    facts: Annotated[
        Path | None, typer.Option(help="CSV of facts: underlying, sector, beta, …", exists=True, dir_okay=False)
    ] = None,
    rules: Annotated[str, typer.Option(help="A shipped rule set by name, or a TOML file.")] = "default",
    rows: Annotated[int, typer.Option(min=1, max=500, help="Rows of the table.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Run the live scan over recorded chains and print the ranked table with the reasons."""
    from tastytrades import scanfile

    try:
        day = date.fromisoformat(session) if session else None
    except ValueError:
        raise RuntimeFault(f"--session {session!r} is not a date: write it as YYYY-MM-DD") from None
    outcome = scanfile.scan_file(chains, underlying or [], day, net_liq, facts, rules)
    if as_json:
        sys.stdout.write(json.dumps(scanfile.as_json(outcome)) + "\n")
        return
    scanfile.show(console, outcome, rows)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="CSV of reference values.")],
    as_json: AsJson = False,
) -> None:
    """Recompute the numbers of a reference file; exit code 1 when one is outside its tolerance.

    Columns: id, kind, style, type, S, K, T, r, q, sigma, extra, value, tol, and source if you like.

    T in years, r, q and sigma as fractions; theta per year, vega and rho per 1.00.

    `extra`: name=value pairs between semicolons, as cash=10 or legs=-90P/+85P;net=1.5;be=88.5.

    A kind that does not exist is answered with the list of those that do.
    """
    from tastytrades import verify as reference

    found = reference.verify_file(file)
    if as_json:
        sys.stdout.write(json.dumps(reference.as_json(found)) + "\n")
    else:
        reference.show(console, found)
    if found.outside:
        raise typer.Exit(1)


@app.command()
def rules(
    name: Annotated[str | None, typer.Argument(help="Print this shipped rule set as TOML.")] = None,
    check: Annotated[Path | None, typer.Option(help="Read a file as the scanner will, and say what is wrong.")] = None,
) -> None:
    """List the shipped rule sets, print one to change, or check a file of your own."""
    from strategies import rule_file

    if check is not None:
        try:
            found = rule_file.load(check)
        except rule_file.RuleFileError as error:
            raise RuntimeFault("\n".join(f"{error.source}: {problem}" for problem in error.problems)) from None
        console.print(f"{check}: rule set {found.name!r} version {found.version} can be used", highlight=False)
    elif name is not None:
        try:
            sys.stdout.write(rule_file.shipped_text(name))
        except KeyError as error:
            raise RuntimeFault(str(error.args[0])) from None
    else:
        for each in rule_file.shipped():
            held = rule_file.load_shipped(each)
            console.print(f"[bold]{each:<14}[/] {', '.join(kind.value for kind in held.strategies)}", highlight=False)


@app.command()
def status(data: DataDir = None, as_json: AsJson = False) -> None:
    """Show the running system: mode, services, gate, feed."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        system, gate = gateway.get("/system"), gateway.get("/control/gate")
    if as_json:
        sys.stdout.write(json.dumps({"system": system, "gate": gate}) + "\n")
        return
    table = Table(title=f"{system['mode'].upper()}  {runtime.load(_folder(data)).url}")
    for heading in ("service", "ready", "age s", "loop lag ms", "memory MB", "reason"):
        table.add_column(heading)
    for each in sorted(system["services"], key=lambda row: str(row["service"])):
        table.add_row(
            each["service"],
            "yes" if each["ready"] else "NO",
            _known(each.get("age_seconds"), ".1f"),
            _known(each.get("loop_lag_ms"), ".1f"),
            _known(each.get("memory_mb"), ".0f"),
            each.get("reason") or "",
        )
    console.print(table)
    for row in gate["rows"]:
        console.print(
            f"gate {row['scope']} {row['scope_value']}: [bold]{row['mode']}[/]  by {row['who']}  {row['why']}"
        )
    console.print(f"armed: {', '.join(gate['armed_accounts']) or 'none'}")


def _known(value: float | None, form: str) -> str:
    return "—" if value is None else format(value, form)


@app.command()
def kill(
    data: DataDir = None,
    mode: Annotated[str, typer.Option(help="halt_opens, reduce_only, cancel_working or flatten.")] = "cancel_working",
    scope: Annotated[str, typer.Option(help="all, account, strategy or underlying.")] = "all",
    value: Annotated[str, typer.Option(help="Account, strategy or underlying of the scope.")] = "",
    why: Annotated[str, typer.Option(help="Kept with the stop.")] = "stopped from the command line",
) -> None:
    """Stop trading now: no new orders, working orders are cancelled."""
    from tastytrades import killing

    killing.kill(_folder(data), scope, value, mode, why, console)


@app.command(name="give-up")
def give_up(
    intent_id: Annotated[str, typer.Argument(help="The order, as `tastytrades orders --json` names it.")],
    reason: Annotated[str, typer.Option(help="What proves that the broker never took it; required.")],
    data: DataDir = None,
) -> None:
    """Declare an order dead that was sent, got no answer and is nowhere at the broker; frees its strategy."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        gateway.post(f"/orders/{intent_id}/give-up", {"reason": reason})
    console.print(f"asked for; `tastytrades orders` shows {intent_id} as dead when it is done")


@app.command()
def resume(
    reason: Annotated[str, typer.Option(help="Why it is safe to trade again; required.")],
    data: DataDir = None,
    scope: Annotated[str, typer.Option()] = "all",
    value: Annotated[str, typer.Option()] = "",
) -> None:
    """Allow trading again after a stop."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        gateway.post("/control/resume", {"scope": scope, "scope_value": value, "reason": reason})
    console.print(f"resumed {scope} {value}".rstrip())


@app.command()
def drill(
    data: DataDir = None,
    down: Annotated[
        list[str] | None, typer.Option(help="What is away meanwhile: none, nats, postgres; may be repeated.")
    ] = None,
    own: Annotated[bool, typer.Option("--own", help="Start a system for the drill even if one runs.")] = False,
    past: Annotated[bool, typer.Option("--history", help="Print the drills kept with the data folder.")] = False,
) -> None:
    """Stop a simulated system that has working orders and measure it; the last line is JSON.

    On a running system, which stays stopped: resume it yourself. Without one a system is started for the drill.
    """
    from tastytrades import drill as drills

    folder = _folder(data)
    if past:
        sys.stdout.write(json.dumps(drills.history(folder)) + "\n")
        return
    result = drills.drill(folder, down or [], own, lambda text: errors.print(f"[dim]{escape(text)}[/]"))
    for trial in result["trials"]:
        errors.print(f"down {trial['down']}: {'; '.join(trial['missed']) or 'every target kept'}", highlight=False)
    if not result["own_system"]:
        errors.print("the system stays stopped: `tastytrades resume --reason …`", highlight=False)
    sys.stdout.write(json.dumps(result) + "\n")
    if any(trial["sent_after_stop"] for trial in result["trials"]):
        raise typer.Exit(1)


@app.command()
def arm(account: str, reason: Annotated[str, typer.Option()], data: DataDir = None) -> None:
    """Let automation open positions in an account."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        gateway.post("/control/arm", {"account_number": account, "reason": reason})
    console.print(f"armed {account}")


@app.command()
def disarm(
    account: str, reason: Annotated[str, typer.Option()] = "disarmed from the command line", data: DataDir = None
) -> None:
    """Stop automation from opening positions in an account; nothing else changes."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        gateway.post("/control/disarm", {"account_number": account, "reason": reason})
    console.print(f"disarmed {account}")


@app.command()
def orders(
    data: DataDir = None, state: Annotated[str, typer.Option(help="working or all")] = "all", as_json: AsJson = False
) -> None:
    """List orders with their state and reason."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        found = gateway.get("/orders", state=state)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table()
    for heading in ("time", "underlying", "structure", "qty", "limit", "state", "filled", "fill price", "reason"):
        table.add_column(heading)
    for each in found:
        table.add_row(
            str(each["ts_event"])[11:19],
            each["underlying_symbol"],
            each["spread_type"],
            str(each["quantity"]),
            each["limit_price"],
            each["state"],
            str(each["filled_quantity"]),
            each["average_fill_price"] or "—",
            each["reason_code"],
        )
    console.print(table)


@app.command()
def positions(data: DataDir = None, as_json: AsJson = False) -> None:
    """List positions by underlying and leg."""
    from tastytrades.api import Gateway

    with Gateway(_folder(data)) as gateway:
        found = gateway.get("/positions")
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table()
    for heading in ("account", "underlying", "contract", "quantity", "average open", "mark"):
        table.add_column(heading)
    for each in found:
        for leg in each["legs"]:
            table.add_row(
                each["account_number"],
                each["underlying_symbol"],
                leg["occ_symbol"],
                str(leg["signed_quantity"]),
                leg["average_open_price"],
                leg["mark"] or "—",
            )
    console.print(table)


@app.command()
def doctor(data: DataDir = None, as_json: AsJson = False) -> None:
    """Check the machine and the running system, and say what to do."""
    from tastytrades import doctor as checks

    findings = checks.examine(_folder(data))
    if as_json:
        sys.stdout.write(json.dumps([finding.as_dict() for finding in findings]) + "\n")
    else:
        checks.show(console, findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def run() -> None:
    """Entry point of the `tastytrades` command: a fault the user can mend is one clear line and exit code 1."""
    try:
        app()
    except RuntimeFault as fault:
        errors.print(f"[bold red]error[/] {escape(str(fault))}", highlight=False)
        raise SystemExit(1) from None
