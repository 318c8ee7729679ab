"""`tastytrades`: scan recorded chains, run the simulator, check the machine."""

from __future__ import annotations

import json
import os
import sys
from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel

from tastytrades import runtime
from tastytrades.runtime import RuntimeFault

app = typer.Typer(
    help="Scan option chains and say why each trade passed or failed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()
errors = Console(stderr=True)

DataDir = Annotated[Path | None, typer.Option("--data", help="Data folder. Default: TT_DATA_DIR, else ./.data")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def _folder(data: Path | None) -> Path:
    return data.resolve() if data else runtime.default_data_dir()


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
    rows: Annotated[int, typer.Option(min=1, max=500, help="Rows of the table.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Run the live scan over recorded chains and print the ranked table with the reasons."""
    from tastytrades import scanfile

    try:
        day = date.fromisoformat(session) if session else None
    except ValueError:
        raise RuntimeFault(f"--session {session!r} is not a date: write it as YYYY-MM-DD") from None
    outcome = scanfile.scan_file(chains, underlying or [], day, net_liq, facts)
    if as_json:
        sys.stdout.write(json.dumps(scanfile.as_json(outcome)) + "\n")
        return
    scanfile.show(console, outcome, rows)


@app.command()
def sim(
    data: DataDir = None,
    speed: Annotated[float, typer.Option(min=0.1, max=1000.0, help="Market seconds per second.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 7,
    port: Annotated[int, typer.Option(min=1, max=65535, help="A free one is found when it is taken.")] = 8420,
) -> None:
    """Start the broker simulator, for any software that speaks the tastytrade API."""
    folder = _folder(data)
    chosen = runtime.choose_port(port, set())
    client_secret, refresh_token = (
        runtime.secret(folder, f"sim-{name}") for name in ("client-secret", "refresh-token")
    )
    own = {
        "PORT": str(chosen),
        "SPEED": str(speed),
        "SEED": str(seed),
        "DATA_DIR": str(folder / "tastysim"),
        "CLIENT_SECRET": client_secret,
        "REFRESH_TOKEN": refresh_token,
    }
    text = (
        f"REST            http://127.0.0.1:{chosen}\n"
        f"account stream  ws://127.0.0.1:{chosen}/streamer\n"
        f"DXLink          from GET /api-quote-tokens\n"
        f"history         http://127.0.0.1:{chosen}/sim/history\n"
        f"client secret   {client_secret}\n"
        f"refresh token   {refresh_token}\n"
        f"account         5WT00001, simulated money; Ctrl-C stops it, its data stays in {folder}"
    )
    console.print(Panel(text, title="tastysim", expand=False), highlight=False)
    sys.stdout.flush()
    environment = dict(os.environ) | {f"TT_TASTYSIM_{name}": value for name, value in own.items()}
    os.execve(sys.executable, [sys.executable, "-m", "tastysim"], environment)


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
        errors.print(f"[bold red]error[/] {fault}", highlight=False)
        raise SystemExit(1) from None
