"""Reference values are recomputed by the product itself; a file that cannot be used is explained field by field."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from tastytrades import cli, verify
from tastytrades.runtime import RuntimeFault

SHARED = Path(os.environ.get("TT_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
HEADING = "id,kind,style,type,S,K,T,r,q,sigma,extra,value,tol,source"
GOOD = "one,bs_price,european,call,60.00,65.00,0.25,0.08,0.00,0.30,,2.1334,0.0001,Haug"


def file(tmp_path: Path, *rows: str, heading: str = HEADING) -> Path:
    path = tmp_path / "values.csv"
    path.write_text("\n".join((heading, *rows)) + "\n")
    return path


def changed(**cells: str) -> str:
    """The good row with other cells."""
    row = dict(zip(HEADING.split(","), GOOD.split(","), strict=True)) | cells
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(row.values())
    return line.getvalue()


@dataclass(frozen=True)
class Answer:
    """What the command said, white space made single, and its exit code."""

    out: str
    err: str
    code: int


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """The `tastytrades verify` command."""

    def command(*arguments: str) -> Answer:
        monkeypatch.setattr("sys.argv", ["tastytrades", "verify", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.run()
        out, err = (" ".join(each.split()) for each in capsys.readouterr())
        return Answer(out, err, int(stopped.value.code or 0))

    return command


def test_every_published_value_is_reproduced_within_its_tolerance() -> None:
    """284 numbers of Haug, Hull, Ju, Longstaff and Schwartz, Gatheral and Jacquier, and others."""
    path = SHARED / "reference" / "reference_values.csv"
    if not path.exists():
        pytest.skip(f"reference values are not at {path}: set TT_SHARED_DATA")
    found = verify.verify_file(path)
    assert len(found.results) == 284
    assert {each.row.kind for each in found.results} <= set(verify.KINDS)
    assert [(each.row.id, each.error, each.row.tolerance) for each in found.outside] == []


def test_a_value_outside_its_tolerance_is_named_and_fails_the_command(
    tmp_path: Path, run: Callable[..., Answer]
) -> None:
    """Exit code 1; the row, what was expected, what came out; the machine form says the same."""
    path = file(tmp_path, GOOD, changed(id="two", value="2.14"))
    shown, machine = run(str(path)), run(str(path), "--json")
    assert shown.code == machine.code == 1
    assert "row 2 (two): expected 2.14, got 2.13336" in shown.out
    assert "1 of 2 rows are outside" in shown.out
    found = json.loads(machine.out)
    assert (found["rows"], found["outside"]) == (2, 1)
    assert [row["id"] for row in found["rows_outside"]] == ["two"]
    assert found["rows_outside"][0]["error"] == pytest.approx(2.14 - 2.1333684, abs=1e-6)
    assert found["kinds"][0]["worst"]["id"] == "two"


def test_values_within_their_tolerance_succeed(tmp_path: Path, run: Callable[..., Answer]) -> None:
    """Exit code 0 and one sentence."""
    answer = run(str(file(tmp_path, GOOD)))
    assert answer.code == 0
    assert "Every row is within its tolerance." in answer.out


@pytest.mark.parametrize(
    "row",
    [
        changed(kind="greek_rho", S="49", K="50", T="0.3846", r="0.05", sigma="0.2", value="8.91", tol="0.005"),
        changed(kind="implied_volatility", sigma="", extra="price=2.133372", value="0.3", tol="1e-6"),
        changed(kind="probability_touch", type="", S="100", K="105", T="0.1643835616", r="0.01", sigma="0.2",
                value="0.540703", tol="1e-6"),
        changed(kind="probability_itm", S="42", K="40", T="0.5", r="0.1", sigma="0.2", value="0.7349", tol="0.00005"),
        changed(kind="pop_multi", type="any", S="100", K="", T="0.1232876712328767", r="0.04", sigma="0.3",
                extra="legs=-2x95P/+2x90P; net=2.9; be=93.55", value="0.7347057756", tol="1e-9"),
        changed(kind="american_true", style="american", type="put", S="36", K="40", T="1", r="0.06", sigma="0.2",
                extra="exercises_per_year=50", value="4.478", tol="0.0005"),
        changed(kind="american_true", style="american", type="put", S="36", K="40", T="1", r="0.06", sigma="0.2",
                value="4.4867", tol="0.00005", source="QuantLib, QdFp engine"),
        changed(kind="svi_butterfly_arb", style="svi", type="", S="", K="", r="", q="", sigma="",
                extra="a=0.04;b=0.1;rho=-0.3;m=0;sigma=0.2", value="free", tol="0"),
    ],
)  # fmt: skip
def test_kinds_beside_those_of_the_published_file(tmp_path: Path, row: str) -> None:
    """Hull's rho and N(d2), a volatility from its price, a touched barrier, legs of two, a slice without arbitrage."""
    assert verify.verify_file(file(tmp_path, row)).outside == ()


@pytest.mark.parametrize(
    ("cells", "column", "value", "advice"),
    [
        ({"kind": "bs_prise"}, "kind", "bs_prise", "correct it or remove the row"),
        ({"style": "asian"}, "style", "asian", "write european"),
        ({"type": "calls"}, "type", "calls", "write call or put"),
        ({"sigma": "30%"}, "sigma", "30%", "write it with a decimal point"),
        ({"sigma": ""}, "sigma", "", "is not a number"),
        ({"K": "nan"}, "K", "nan", "not a finite number"),
        ({"S": "-60"}, "S", "-60", "must be above 0"),
        ({"T": "-0.25"}, "T", "-0.25", "must be 0 or more"),
        ({"value": "2,1334"}, "value", "2,1334", "is not a number"),
        ({"tol": "-1"}, "tol", "-1", "is negative"),
        ({"extra": "cash"}, "extra", "cash", "is not name=value"),
        ({"kind": "digital_cash"}, "extra", "", "add cash=number"),
        ({"kind": "digital_cash", "extra": "cash=ten"}, "extra, cash", "ten", "is not a number"),
        (
            {"kind": "svi_butterfly_arb", "style": "svi", "extra": "a=1;b=1;rho=0;m=0;sigma=1"},
            "value",
            "2.1334",
            "free",
        ),
        (
            {"kind": "american_true", "style": "american", "extra": "exercises_per_year=x"},
            "extra, exercises_per_year",
            "x",
            "is not a number",
        ),
        ({"kind": "pop_multi", "extra": "net=1"}, "extra", "net=1", "has no legs"),
        ({"kind": "pop_multi", "extra": "net=1;legs=90P"}, "extra, legs", "90P", "write sign, strike and C or P"),
        ({"kind": "pop_multi", "extra": "net=1;legs=-90P;be=x"}, "extra, be", "x", "is not a number"),
    ],
)
def test_a_field_that_cannot_be_used_is_named_with_what_to_write(
    tmp_path: Path, cells: dict[str, str], column: str, value: str, advice: str
) -> None:
    """Row, id, column, value, advice."""
    with pytest.raises(RuntimeFault) as fault:
        verify.verify_file(file(tmp_path, GOOD, changed(**cells)))
    assert f"row 2 (one), column {column!r}: {value!r}" in str(fault.value)
    assert advice in str(fault.value)


def test_all_faults_of_a_file_are_told_at_once_up_to_twenty(tmp_path: Path) -> None:
    """The rest is counted; a line of too few fields is one of them."""
    with pytest.raises(RuntimeFault) as fault:
        verify.verify_file(file(tmp_path, "short,line", *[changed(sigma="x")] * 30))
    assert "row 1 (?), column '(all)': '2' fields where the heading has 14" in str(fault.value)
    assert "row 20 (one)" in str(fault.value)
    assert "and 11 more" in str(fault.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has no column 'id' or"),
        (HEADING.replace("sigma", "vol").encode(), "has no column 'sigma': it has id, kind"),
        (HEADING.encode() + b"\n\n", "has no rows"),
        (b"\xff\xfe\x00", "is not a CSV text file"),
        (b"PK\x03\x04\x00\xff", "is not a CSV text file"),
    ],
)
def test_a_file_that_is_no_reference_file_is_explained(tmp_path: Path, content: bytes, told: str) -> None:
    """Empty, a column missing, only a heading, not text."""
    path = tmp_path / "values.csv"
    path.write_bytes(content)
    with pytest.raises(RuntimeFault, match=told):
        verify.verify_file(path)


def test_what_cannot_be_opened_is_one_clear_line(tmp_path: Path, run: Callable[..., Answer]) -> None:
    """Exit code 1, no traceback; also for a folder, and for brackets in a value."""
    for path in (tmp_path / "absent.csv", tmp_path, file(tmp_path, changed(sigma="[/red]"))):
        answer = run(str(path))
        assert answer.code == 1
        assert answer.err.startswith(f"error {tmp_path}")


def test_a_byte_order_mark_quoted_commas_and_empty_lines_are_read(tmp_path: Path) -> None:
    """As spreadsheets write them."""
    path = tmp_path / "values.csv"
    path.write_text(f"\ufeff{HEADING}\r\n\r\n{changed(source='Haug, p. 2')}\r\n", encoding="utf-8")
    found = verify.verify_file(path)
    assert found.results[0].row.source == "Haug, p. 2"
    assert found.outside == ()


def test_what_gives_no_result_is_outside_whatever_the_tolerance(tmp_path: Path) -> None:
    """A price that no volatility gives; break-evens that are not those of the legs; no time; JSON has null."""
    rows = (
        changed(kind="implied_volatility", extra="price=70", value="0.3", tol="1e9"),
        changed(kind="pop_multi", extra="legs=-95P/+90P;net=1.45;be=93.5", value="0.7", tol="1e9"),
        changed(kind="pop_multi", extra="legs=-95P/+90P;net=1.45;be=93.55", T="0", value="0.7", tol="1e9"),
    )
    found = verify.verify_file(file(tmp_path, *rows))
    assert len(found.outside) == 3
    assert [row["error"] for row in verify.as_json(found)["rows_outside"]] == [None] * 3
    console = Console(record=True, width=200, file=io.StringIO())
    verify.show(console, found)
    assert console.export_text().count("got no result") == 3
