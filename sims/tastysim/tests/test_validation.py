"""Every route against everything that can be wrong with a request: the broker's own kind of error, with code and field.

The routes come from the application itself, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from tastysim.service import PUBLIC, build
from tastysim.settings import SimSettings

ACCOUNT = "5WT00001"
KNOWN = {
    "number": ACCOUNT, "customer": "me", "currency": "USD", "symbol": "SPY", "exchange": "CME", "code": "ES",
    "root": "ES", "text": "SPY", "kind": "Equity", "name": "Crypto", "order_id": "1", "complex_id": "1",
    "identity": "1",
}  # fmt: skip
QUERIES: dict[str, dict[str, str]] = {
    "/customers/{customer}/orders/live": {"account-numbers[]": ACCOUNT},
    "/customers/{customer}/orders": {"account-numbers[]": ACCOUNT},
    "/accounts/{number}/balance-snapshots": {"time-of-day": "EOD"},
    "/accounts/{number}/net-liq/history": {"time-back": "1d"},
    "/span/rows": {"date": "2026-01-05", "exchange": "CME"},
    "/instruments/equity-options": {"symbol[]": "SPY   261218P00690000"},
    "/instruments/search": {"query": "SPY"},
    "/market-data/by-type": {"equity": "SPY"},
    "/market-metrics": {"symbols": "SPY"},
    "/market-metrics/historic-corporate-events/earnings-reports/{symbol:path}": {"start-date": "2026-01-05"},
    "/market-time/sessions/current": {"instrument-collections[]": "Equity"},
    "/market-time/sessions": {"to-date": "2027-01-05"},
}
"""What a route cannot be asked without."""
_SEARCH = ("start-date", "end-date", "start-at", "end-at")
WRONG: dict[str, dict[str, tuple[str, ...]]] = {
    "/accounts/{number}/orders": {"sort": ("Up",), "status[]": ("Floating",), "underlying-instrument-type": ("Rock",)},
    "/customers/{customer}/orders": {"sort": ("Up",), "status[]": ("Floating",)},
    "/accounts/{number}/transactions": {"sort": ("Up",)},
    "/accounts/{number}/positions": {
        "instrument-type": ("Rock",), "include-marks": ("perhaps",), "include-closed-positions": ("1",),
    },
    "/accounts/{number}/balance-snapshots": {"time-of-day": ("Noon", "")},
    "/accounts/{number}/net-liq/history": {"time-back": ("2d",), "start-time": ("yesterday",), "end-time": ("25:00",)},
    "/accounts/{number}/transactions/total-fees": {"date": ("2026-13-01", "today")},
    "/span/rows": {"date": ("2026-02-30",)},
    "/instruments/equities": {"is-etf": ("perhaps",), "is-index": ("2",)},
    "/instruments/search": {"limit": ("0", "many", "9999")},
    "/market-metrics/historic-corporate-events/earnings-reports/{symbol:path}": {
        "start-date": ("2026-02-30",), "end-date": ("soon",),
    },
    "/market-time/sessions": {"to-date": ("soon",), "from-date": ("2026-00-01",), "instrument-collection": ("Rocks",)},
    "/market-time/equities/sessions/current": {"current-time": ("noon",)},
    "/market-time/equities/sessions/next": {"date": ("soon",)},
    "/market-time/equities/sessions/previous": {"date": ("soon",)},
    "/market-time/futures/sessions/next/{exchange}": {"date": ("soon",)},
    "/market-time/futures/sessions/previous/{exchange}": {"date": ("soon",)},
    "/public-watchlists": {"counts-only": ("perhaps",)},
}  # fmt: skip
for _path in ("/accounts/{number}/orders", "/customers/{customer}/orders", "/accounts/{number}/transactions"):
    WRONG[_path] |= dict.fromkeys(_SEARCH, ("soon", "2026-02-30"))
WRONG["/accounts/{number}/balance-snapshots"] |= dict.fromkeys(("snapshot-date", "start-date", "end-date"), ("soon",))


def routes_of(routes: Iterable[Any]) -> Iterator[APIRoute]:
    """Every route, also of routers that are included."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from routes_of(inner.routes)
        elif isinstance(route, APIRoute):
            yield route


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The simulator, its time standing still."""
    return build(SimSettings(data_dir=tmp_path_factory.mktemp("validation")))


@pytest.fixture(scope="module")
def routes(app: Any) -> list[tuple[str, str]]:
    """Method and path of everything that the broker has too."""
    found = [(method, route.path) for route in routes_of(app.routes) for method in sorted(route.methods)]
    return [each for each in found if not each[1].startswith(("/sim/", "/sandbox/", "/oauth/"))]


@pytest.fixture
async def http(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim") as found:
        yield found


@pytest.fixture
async def headers(http: httpx.AsyncClient) -> dict[str, str]:
    """With every scope."""
    return await logged_in(http, "read trade openid")


async def logged_in(http: httpx.AsyncClient, scope: str) -> dict[str, str]:
    """The headers of a login."""
    body = {
        "grant_type": "refresh_token", "client_secret": "demo-client-secret", "refresh_token": "demo-refresh-token",
        "scope": scope,
    }  # fmt: skip
    token = (await http.post("/oauth/token", json=body)).json()["access_token"]
    return {"Authorization": f"Bearer {token}"}


def filled(path: str, **other: str) -> str:
    """A path with its parameters."""
    values = KNOWN | other
    return re.sub(r"{(\w+)(:path)?}", lambda found: values[found[1]], path)


def code(answer: httpx.Response) -> Any:
    """Of an error envelope."""
    return answer.json()["error"]["code"]


def fields(answer: httpx.Response) -> set[str]:
    """That an error names."""
    return {each["domain"] for each in answer.json()["error"]["errors"]}


def test_the_tables_speak_of_routes_that_exist(routes: list[tuple[str, str]]) -> None:
    """Also the parameters: a path with an unknown one fails in `filled`."""
    paths = {path for _, path in routes}
    assert set(QUERIES) <= paths
    assert set(WRONG) <= paths
    assert all(filled(path) for path in paths)
    assert len(routes) > 80


async def test_every_route_wants_a_name_a_token_and_a_version(
    http: httpx.AsyncClient, headers: dict[str, str], routes: list[tuple[str, str]]
) -> None:
    """HTML for a bad User-Agent, 401 for no token, 406 with a numeric code for an old version."""
    for method, path in routes:
        url = filled(path)
        nameless = await http.request(method, url, headers=headers | {"User-Agent": "nobody"})
        assert (nameless.status_code, nameless.headers["content-type"].split(";")[0]) == (401, "text/html"), url
        old = await http.request(method, url, headers=headers | {"Accept-Version": "20200101"})
        assert (old.status_code, code(old)) == (406, 406), url
        for token in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": "nonsense"}):
            bare = await http.request(method, url, headers=token)
            if url.startswith(PUBLIC):
                assert bare.status_code == 200, url
            else:
                assert (bare.status_code, code(bare)) == (401, "token_invalid"), url


async def test_what_trades_needs_the_scope(http: httpx.AsyncClient, routes: list[tuple[str, str]]) -> None:
    """A login that may only read is refused wherever an order would be sent, changed or cancelled."""
    reading = await logged_in(http, "read")
    trading = [(method, path) for method, path in routes if "orders" in path and method != "GET"]
    assert len(trading) >= 11
    for method, path in trading:
        answer = await http.request(method, filled(path), headers=reading)
        assert (answer.status_code, code(answer)) == (403, "not_permitted"), path


async def test_unknown_accounts_and_things_are_not_found(
    http: httpx.AsyncClient, headers: dict[str, str], routes: list[tuple[str, str]]
) -> None:
    """Whatever else the request has."""
    nothing = {"symbol": "N/OPE", "name": "Nothing", "order_id": "987654321", "complex_id": "987654321",
               "identity": "987654321", "root": "NOPE", "exchange": "NOPE", "currency": "XXX"}  # fmt: skip
    empty = ("/option-chains/{symbol:path}", "/option-chains/{symbol:path}/compact", "/futures-option-chains/{code}")
    for method, path in routes:
        query = QUERIES.get(path, {})
        if "{number}" in path:
            answer = await http.request(method, filled(path, number="5WT99999"), headers=headers, params=query, json={})
            assert (answer.status_code, code(answer)) == (404, "record_not_found"), path
        for name in set(re.findall(r"{(\w+)", path)) & set(nothing):
            if path not in empty:
                url = filled(path, **{name: nothing[name]})
                answer = await http.request(method, url, headers=headers, params=query, json={"name": "x"})
                assert (answer.status_code, code(answer)) == (404, "record_not_found"), url
    for path in empty:
        answer = await http.get(filled(path, symbol="NOPE", code="NOPE"), headers=headers)
        assert answer.json()["data"] == {"items": []}
    unrouted = await http.get("/nothing/here", headers=headers)
    assert (unrouted.status_code, code(unrouted)) == (404, "not_found")
    unsupported = await http.delete("/market-metrics", headers=headers)
    assert (unsupported.status_code, code(unsupported)) == (404, "not_found")


async def test_ids_are_numbers(http: httpx.AsyncClient, headers: dict[str, str], routes: list[tuple[str, str]]) -> None:
    """A word where an id belongs is a malformed request, and the field is named."""
    seen = 0
    for method, path in routes:
        for name in set(re.findall(r"{(\w+)", path)) & {"order_id", "complex_id"}:
            answer = await http.request(method, filled(path, **{name: "abc"}), headers=headers, json={})
            assert (answer.status_code, code(answer)) == (400, "validation_error"), path
            assert fields(answer) == {name.replace("_", "-")}
            seen += 1
    assert seen >= 10


async def test_bodies_are_objects(
    http: httpx.AsyncClient, headers: dict[str, str], routes: list[tuple[str, str]]
) -> None:
    """No JSON, and JSON of another type, wherever there is a body."""
    bodiless = ("/sessions/validate", "/accounts/{number}/orders/{order_id}/reconfirm")
    for method, path in routes:
        if method not in ("POST", "PUT", "PATCH") or path in bodiless:
            continue
        for content in ("{", "", "[]", "7", '"text"', "null"):
            answer = await http.request(method, filled(path), headers=headers, content=content)
            assert answer.status_code in (400, 404), (path, content)
            assert code(answer) in ("invalid_request", "validation_error", "record_not_found"), (path, content)


async def test_pages_are_numbers_in_their_range(
    http: httpx.AsyncClient, headers: dict[str, str], routes: list[tuple[str, str]]
) -> None:
    """Wherever an answer has pages; `page-offset` comes back as it was asked for."""
    paged = 0
    for method, path in routes:
        url, query = filled(path), QUERIES.get(path, {})
        if method != "GET" or not (await http.get(url, headers=headers, params=query)).json().get("pagination"):
            continue
        paged += 1
        for name, values in (("per-page", ("0", "-1", "x", "1.5", "999999")), ("page-offset", ("-1", "x"))):
            for value in values:
                answer = await http.get(url, headers=headers, params={**query, name: value})
                assert (answer.status_code, code(answer), fields(answer)) == (400, "validation_error", {name}), url
        beyond = (await http.get(url, headers=headers, params={**query, "page-offset": "99"})).json()
        assert (beyond["data"]["items"], beyond["pagination"]["page-offset"]) == ([], 99)
    assert paged >= 16


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, names in WRONG.items() for name in names])
async def test_a_wrong_value_is_named(http: httpx.AsyncClient, headers: dict[str, str], path: str, name: str) -> None:
    """Dates, times, flags and words of an enumeration."""
    for value in WRONG[path][name]:
        answer = await http.get(filled(path), headers=headers, params={**QUERIES.get(path, {}), name: value})
        assert (answer.status_code, code(answer)) == (400, "validation_error"), value
        assert fields(answer) == {name.removesuffix("[]")}


@pytest.mark.parametrize("path", QUERIES)
async def test_what_is_required_is_missed(http: httpx.AsyncClient, headers: dict[str, str], path: str) -> None:
    """The answer says which parameter."""
    answer = await http.get(filled(path), headers=headers)
    assert (answer.status_code, code(answer)) == (400, "validation_error")
    names = {name.removesuffix("[]") for name in QUERIES[path]} | {"symbols"}
    assert fields(answer) & names


async def test_a_search_needs_a_start_from_its_version_on(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """Older versions do not."""
    url = f"/accounts/{ACCOUNT}/orders"
    for version, status in (("20251101", 200), ("20261011", 200), ("20261012", 400), ("20270101", 400)):
        answer = await http.get(url, headers=headers | {"Accept-Version": version})
        assert answer.status_code == status
    started = await http.get(url, headers=headers | {"Accept-Version": "20261012"}, params={"start-date": "2026-01-05"})
    assert started.status_code == 200
    moment = {"start-at": "2026-05-01 00:00:00+00:00"}
    assert (await http.get(url, headers=headers, params=moment)).status_code == 200


LEG: dict[str, Any] = {"instrument-type": "Equity", "symbol": "SPY", "quantity": 1, "action": "Buy to Open"}
ORDER: dict[str, Any] = {
    "time-in-force": "Day", "order-type": "Limit", "price": "1", "price-effect": "Debit", "legs": [LEG],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"legs": None}, 400, "legs"),
        ({"legs": [7]}, 400, "legs"),
        ({"legs": [LEG] * 5}, 400, "legs"),
        ({"legs": [{**LEG, "quantity": "many"}]}, 400, "legs.quantity"),
        ({"legs": [{**LEG, "quantity": 0}]}, 400, "legs"),
        ({"legs": [{**LEG, "action": "Hold"}]}, 400, "legs"),
        ({"legs": [{**LEG, "instrument-type": "Rock"}]}, 400, "legs.instrument-type"),
        ({"legs": [{**LEG, "instrument-type": "Future"}]}, 422, "instrument_validation_failed"),
        ({"legs": [{**LEG, "symbol": "NOPE"}]}, 422, "instrument_validation_failed"),
        ({"legs": [LEG, LEG]}, 422, "invalid_legs"),
        ({"order-type": "Wish"}, 400, "order-type"),
        ({"time-in-force": "Whenever"}, 400, "time-in-force"),
        ({"time-in-force": "GTD", "gtc-date": "soon"}, 400, "gtc-date"),
        ({"time-in-force": "GTD", "gtc-date": "2020-01-01"}, 400, "gtc-date"),
        ({"price": "cheap"}, 400, "price"),
        ({"price": "Infinity"}, 400, "price"),
        ({"price-effect": "Credit"}, 422, "cant_buy_for_credit"),
        ({"order-type": "Stop", "price": None, "stop-trigger": "x"}, 400, "stop-trigger"),
        ({"order-type": "Market"}, 422, "order_must_omit_price"),
        ({"rules": {"route-after": "soon"}}, 400, "rules.route-after"),
        ({"rules": {"conditions": [{}]}}, 400, "rules.conditions.action"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["orders", "orders/dry-run", "complex-orders", "complex-orders/dry-run"])
async def test_a_wrong_order_is_refused_wherever_it_is_sent(
    http: httpx.AsyncClient, headers: dict[str, str], path: str, change: dict[str, Any], status: int, says: str
) -> None:
    """Alone or as the trigger of others, for real or dry: the same words."""
    body = {**ORDER, **change}
    if path.startswith("complex"):
        body = {"type": "OTO", "trigger-order": body, "orders": [ORDER]}
    answer = await http.post(f"/accounts/{ACCOUNT}/{path}", headers=headers, json=body)
    error = answer.json()["error"]
    assert answer.status_code == status
    assert says in {str(each.get("domain", each.get("code"))) for each in error["errors"]}
    assert error["code"] == ("validation_error" if status == 400 else "preflight_check_failure")
