"""Spreads of one option type and one expiration: verticals, butterflies, condors, ratios, ladders, boxes."""

from __future__ import annotations

from strategies.structures.template import Bias, Structure, VolatilityView, define

BULLISH, BEARISH, NEUTRAL, EITHER_WAY = Bias.BULLISH, Bias.BEARISH, Bias.NEUTRAL, Bias.EITHER_WAY
LONG, SHORT, FLAT = VolatilityView.LONG, VolatilityView.SHORT, VolatilityView.FLAT

_BODY = "the price settling at the short strike"
_BODIES = "the price settling between the short strikes"
_WINGS = "a move to either side: most the debit is lost"
_OUT = "a move beyond the outer strikes"

STRUCTURES: tuple[Structure, ...] = (
    define(
        "put_credit_spread", "put credit spread", "+1 put a | -1 put b", "b: delta 0.30 | a: b - 1 width",
        bias=BULLISH, volatility=SHORT, also=("bull put spread", "short put spread"),
        gains="time passing above the short strike", risks="a fall through the short strike",
    ),
    define(
        "call_credit_spread", "call credit spread", "-1 call a | +1 call b", "a: delta 0.30 | b: a + 1 width",
        bias=BEARISH, volatility=SHORT, also=("bear call spread", "short call spread"),
        gains="time passing below the short strike", risks="a rise through the short strike",
    ),
    define(
        "call_debit_spread", "call debit spread", "+1 call a | -1 call b", "a: delta 0.55 | b: a + 1 width",
        bias=BULLISH, volatility=FLAT, also=("bull call spread", "long call spread"),
        gains="a rise to the short strike", risks="the price staying below the long strike",
    ),
    define(
        "put_debit_spread", "put debit spread", "-1 put a | +1 put b", "b: delta 0.55 | a: b - 1 width",
        bias=BEARISH, volatility=FLAT, also=("bear put spread", "long put spread"),
        gains="a fall to the short strike", risks="the price staying above the long strike",
    ),
    define(
        "long_call_butterfly", "long call butterfly", "+1 call a | -2 call b | +1 call c",
        "b: atm | a: b - 1 width | c: b + 1 width", spacing=(1, 1),
        bias=NEUTRAL, volatility=SHORT, gains=_BODY, risks=_WINGS,
    ),
    define(
        "short_call_butterfly", "short call butterfly", "-1 call a | +2 call b | -1 call c",
        "b: atm | a: b - 1 width | c: b + 1 width", spacing=(1, 1),
        bias=EITHER_WAY, volatility=LONG, gains=_OUT, risks="the price settling at the long strike",
    ),
    define(
        "long_put_butterfly", "long put butterfly", "+1 put a | -2 put b | +1 put c",
        "b: atm | a: b - 1 width | c: b + 1 width", spacing=(1, 1),
        bias=NEUTRAL, volatility=SHORT, gains=_BODY, risks=_WINGS,
    ),
    define(
        "short_put_butterfly", "short put butterfly", "-1 put a | +2 put b | -1 put c",
        "b: atm | a: b - 1 width | c: b + 1 width", spacing=(1, 1),
        bias=EITHER_WAY, volatility=LONG, gains=_OUT, risks="the price settling at the long strike",
    ),
    define(
        "broken_wing_call_butterfly", "broken-wing call butterfly", "+1 call a | -2 call b | +1 call c",
        "b: delta 0.30 | a: b - 1 width | c: b + 2 width", unequal_wings=True,
        bias=NEUTRAL, volatility=SHORT, also=("skip-strike call butterfly",),
        gains=_BODY, risks="a rise through the wider wing",
    ),
    define(
        "broken_wing_put_butterfly", "broken-wing put butterfly", "+1 put a | -2 put b | +1 put c",
        "b: delta 0.30 | a: b - 2 width | c: b + 1 width", unequal_wings=True,
        bias=NEUTRAL, volatility=SHORT, also=("skip-strike put butterfly",),
        gains=_BODY, risks="a fall through the wider wing",
    ),
    define(
        "long_call_condor", "long call condor", "+1 call a | -1 call b | -1 call c | +1 call d",
        "b: delta 0.60 | c: delta 0.40 | a: b - 1 width | d: c + 1 width", spacing=(1, 0, 1),
        bias=NEUTRAL, volatility=SHORT, gains=_BODIES, risks=_WINGS,
    ),
    define(
        "short_call_condor", "short call condor", "-1 call a | +1 call b | +1 call c | -1 call d",
        "b: delta 0.60 | c: delta 0.40 | a: b - 1 width | d: c + 1 width", spacing=(1, 0, 1),
        bias=EITHER_WAY, volatility=LONG, gains=_OUT, risks="the price settling between the long strikes",
    ),
    define(
        "long_put_condor", "long put condor", "+1 put a | -1 put b | -1 put c | +1 put d",
        "b: delta 0.40 | c: delta 0.60 | a: b - 1 width | d: c + 1 width", spacing=(1, 0, 1),
        bias=NEUTRAL, volatility=SHORT, gains=_BODIES, risks=_WINGS,
    ),
    define(
        "short_put_condor", "short put condor", "-1 put a | +1 put b | +1 put c | -1 put d",
        "b: delta 0.40 | c: delta 0.60 | a: b - 1 width | d: c + 1 width", spacing=(1, 0, 1),
        bias=EITHER_WAY, volatility=LONG, gains=_OUT, risks="the price settling between the long strikes",
    ),
    define(
        "broken_wing_call_condor", "broken-wing call condor", "+1 call a | -1 call b | -1 call c | +1 call d",
        "b: delta 0.40 | c: delta 0.25 | a: b - 1 width | d: c + 2 width", unequal_wings=True,
        bias=NEUTRAL, volatility=SHORT, gains=_BODIES, risks="a rise through the wider wing",
    ),
    define(
        "broken_wing_put_condor", "broken-wing put condor", "+1 put a | -1 put b | -1 put c | +1 put d",
        "b: delta 0.25 | c: delta 0.40 | a: b - 2 width | d: c + 1 width", unequal_wings=True,
        bias=NEUTRAL, volatility=SHORT, gains=_BODIES, risks="a fall through the wider wing",
    ),
    define(
        "call_ratio_spread", "call ratio spread", "+1 call a | -2 call b", "a: delta 0.40 | b: delta 0.20",
        bias=NEUTRAL, volatility=SHORT, also=("front call ratio", "call front spread"),
        gains="a rise that stops at the short strike", risks="a rise far beyond the short strike, without limit",
    ),
    define(
        "put_ratio_spread", "put ratio spread", "-2 put a | +1 put b", "b: delta 0.40 | a: delta 0.20",
        bias=NEUTRAL, volatility=SHORT, also=("front put ratio", "put front spread"),
        gains="a fall that stops at the short strike", risks="a fall far below the short strike",
    ),
    define(
        "call_back_ratio", "call back-ratio", "-1 call a | +2 call b", "a: delta 0.45 | b: delta 0.30",
        bias=BULLISH, volatility=LONG, also=("call backspread",),
        gains="a large rise", risks="the price settling at the long strike",
    ),
    define(
        "put_back_ratio", "put back-ratio", "+2 put a | -1 put b", "b: delta 0.45 | a: delta 0.30",
        bias=BEARISH, volatility=LONG, also=("put backspread",),
        gains="a large fall", risks="the price settling at the long strike",
    ),
    define(
        "call_zebra", "call ZEBRA", "+2 call a | -1 call b", "a: delta 0.70 | b: atm",
        bias=BULLISH, volatility=FLAT, also=("zero extrinsic back ratio",),
        gains="a rise, like shares, with almost no time value paid", risks="a fall, up to the debit",
    ),
    define(
        "put_zebra", "put ZEBRA", "-1 put a | +2 put b", "b: delta 0.70 | a: atm",
        bias=BEARISH, volatility=FLAT,
        gains="a fall, like short shares, with almost no time value paid", risks="a rise, up to the debit",
    ),
    define(
        "long_call_ladder", "long call ladder", "+1 call a | -1 call b | -1 call c",
        "a: delta 0.45 | b: delta 0.30 | c: delta 0.15",
        bias=NEUTRAL, volatility=SHORT, also=("bull call ladder",),
        gains="a rise that stops between the short strikes", risks="a rise far beyond them, without limit",
    ),
    define(
        "short_call_ladder", "short call ladder", "-1 call a | +1 call b | +1 call c",
        "a: delta 0.45 | b: delta 0.30 | c: delta 0.15",
        bias=EITHER_WAY, volatility=LONG, also=("bear call ladder",),
        gains="a large rise, or a fall when opened for a credit", risks="the price settling between the long strikes",
    ),
    define(
        "long_put_ladder", "long put ladder", "-1 put a | -1 put b | +1 put c",
        "a: delta 0.15 | b: delta 0.30 | c: delta 0.45",
        bias=NEUTRAL, volatility=SHORT, also=("bear put ladder",),
        gains="a fall that stops between the short strikes", risks="a fall far below them",
    ),
    define(
        "short_put_ladder", "short put ladder", "+1 put a | +1 put b | -1 put c",
        "a: delta 0.15 | b: delta 0.30 | c: delta 0.45",
        bias=EITHER_WAY, volatility=LONG, also=("bull put ladder",),
        gains="a large fall, or a rise when opened for a credit", risks="the price settling between the long strikes",
    ),
    define(
        "call_christmas_tree", "call Christmas tree", "+1 call a | -3 call b | +2 call c",
        "a: atm | b: a + 2 width | c: b + 1 width", spacing=(2, 1),
        bias=NEUTRAL, volatility=FLAT, also=("call tree butterfly",),
        gains="a rise that stops at the short strike", risks="no rise, or one beyond the upper strike",
    ),
    define(
        "put_christmas_tree", "put Christmas tree", "+2 put a | -3 put b | +1 put c",
        "c: atm | b: c - 2 width | a: b - 1 width", spacing=(1, 2),
        bias=NEUTRAL, volatility=FLAT, also=("put tree butterfly",),
        gains="a fall that stops at the short strike", risks="no fall, or one beyond the lower strike",
    ),
    define(
        "long_box", "long box", "+1 call a | -1 put a | -1 call b | +1 put b", "a: atm | b: a + 1 width",
        bias=Bias.NONE, volatility=FLAT, also=("box spread",),
        gains="the width being worth more than the debit, as lending money does",
        risks="early assignment of American options; the price cancels out",
    ),
    define(
        "short_box", "short box", "-1 call a | +1 put a | +1 call b | -1 put b", "a: atm | b: a + 1 width",
        bias=Bias.NONE, volatility=FLAT,
        gains="the credit costing less than other borrowing",
        risks="early assignment of American options; the price cancels out",
    ),
)  # fmt: skip
