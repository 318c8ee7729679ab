"""`tastytrades limits`: look at the hard limits of the running system and change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tastytrades import runtime

if TYPE_CHECKING:
    from tastytrades.api import Gateway

app = typer.Typer(help="Hard limits: list, set, confirm, history.", no_args_is_help=True)
console = Console()

DataDir = Annotated[Path | None, typer.Option("--data", help="Data folder. Default: TT_DATA_DIR, else ./.data")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Account = Annotated[str, typer.Option("--account", help="Of this account; default: of every account without its own.")]


@app.command("list")
def show(data: DataDir = None, account: Account = "", as_json: AsJson = False) -> None:
    """Every limit with its value, default and safe range."""
    with _gateway(data) as gateway:
        rows: list[dict[str, Any]] = gateway.get("/limits", account_number=account)
    if as_json:
        console.print_json(json.dumps(rows))
        return
    table = Table("limit", "value", "default", "safe range", "unit")
    for row in sorted(rows, key=lambda each: str(each["name"])):
        value = "missing: denies" if row["value"] is None else _plain(row["value"])
        bounds = f"{_plain(row['lowest'])} – {_plain(row['highest'])}"
        table.add_row(row["name"], value, _plain(row["default"]), bounds, row["unit"])
    console.print(table)


@app.command("set")
def set_limit(
    name: str,
    value: str,
    reason: Annotated[str, typer.Option(help="Why; at least 8 characters, kept with the change.")],
    account: Account = "",
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set a limit; one that is loosened by more than 25 % in a day waits for `confirm`."""
    with _gateway(data) as gateway:
        answer = gateway.post(f"/limits/{name}", {"value": value, "account_number": account, "reason": reason})
    _changed(answer, f"{name} is {value}", as_json=as_json)


@app.command()
def confirm(request_id: int, data: DataDir = None, as_json: AsJson = False) -> None:
    """Put a change in force that waits: as another admin, or ten minutes after asking."""
    with _gateway(data) as gateway:
        answer = gateway.post(f"/limits/requests/{request_id}/confirm", {})
    _changed(answer, f"request {request_id} is in force", as_json=as_json)


@app.command()
def history(name: str, account: Account = "", data: DataDir = None, as_json: AsJson = False) -> None:
    """Every version of a limit, newest first."""
    with _gateway(data) as gateway:
        rows: list[dict[str, Any]] = gateway.get(f"/limits/{name}/history", account_number=account)
    if as_json:
        console.print_json(json.dumps(rows))
        return
    table = Table("version", "value", "changed", "who", "confirmed by", "why")
    for row in rows:
        table.add_row(
            str(row["version"]), _plain(row["value"]), row["changed_at"][:19], row["who"], row["confirmed_by"] or "",
            row["why"],
        )  # fmt: skip
    console.print(table)


def _gateway(data: Path | None) -> Gateway:
    from tastytrades.api import Gateway

    return Gateway(data.resolve() if data else runtime.default_data_dir())


def _plain(number: str) -> str:
    """Without the zeros that carry nothing."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def _changed(answer: dict[str, Any], done: str, *, as_json: bool) -> None:
    if as_json:
        console.print_json(json.dumps(answer))
    elif answer["version"] is None:
        console.print(f"not yet: {answer['advice']} (tastytrades limits confirm {answer['request_id']})")
    else:
        console.print(f"{done}, version {answer['version']}")
