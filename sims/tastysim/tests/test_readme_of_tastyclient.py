"""The examples of tastyclient's README, run in their order against the simulator."""

from __future__ import annotations

import ast
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from tastyclient import OrderStatus, TastyClient
from testkit import eventually

README = Path(__file__).parents[3] / "libs" / "tastyclient" / "README.md"


def examples(address: str) -> list[str]:
    """Python blocks, with this simulator's address and credentials."""
    text = README.read_text().replace("https://api.cert.tastyworks.com", address)
    text = text.replace('client_secret="…"', 'client_secret="demo-client-secret"')
    text = text.replace('refresh_token="…"', 'refresh_token="demo-refresh-token", requests_per_second=100')
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


async def test_the_examples_work(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All of them, as written, and with the results they promise."""
    names: dict[str, Any] = {}
    blocks = examples(address)
    for number, block in enumerate(blocks):
        code = compile(block, f"example {number + 1}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if running is not None:
            await cast("Coroutine[Any, Any, None]", running)
    await eventually(lambda: bool(names["delta"]))
    names["listening"].cancel()
    client: TastyClient = names["client"]
    await client.__aexit__()
    printed = capsys.readouterr().out
    assert len(blocks) == 8
    assert names["placed"].status is OrderStatus.FILLED
    assert -1 < next(iter(names["delta"].values())) < 0
    assert "cant_sell_for_debit" in printed
    assert "100000" in printed


def test_the_table_of_methods_is_complete() -> None:
    """Every public method of the client is listed, and nothing else."""
    listed = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `\w+` \|.*$", README.read_text(), re.MULTILINE))))
    own = {name for name in dir(TastyClient) if not name.startswith("_")}
    assert own - listed == set()
    modules = {path.stem for path in (README.parent / "src" / "tastyclient").glob("*.py")}
    assert listed - own - modules == {"authorization_url", "exchange_code"}
