"""What may happen next in the world of the order protocol."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.core import advance
from schemas.orders import AT_BROKER, TERMINAL_STATES, IntentState
from testkit.protocol_world import (
    CANCELLED,
    CLAIMING,
    CURRENT,
    DOUBT_MINE,
    DOUBT_NONE,
    EXPIRED,
    FILLED,
    IDLE,
    LATE,
    LIVE,
    PERMITTED,
    READY,
    RECOVERING,
    REPLACED,
    STALE,
    STATE_OF,
    WAITING,
    Bounds,
    Process,
    Rules,
    Trade,
    World,
    has,
)  # fmt: skip

S = IntentState
Step = tuple[str, World, str]
"""What happens, the world after it, and the invariant that the step itself breaks ("" for none)."""

NAMES = ("order", "price step")
_PLAIN, _UNSENT = Process(), (S.SUBMITTING, S.UNKNOWN, S.QUARANTINE)


def successors(world: World, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    """Everything that may happen next; worlds that differ only in the names of processes are one."""
    for label, after, broken in _all(world, rules, bounds):
        processes = after.processes
        ordered = tuple(sorted(processes))
        yield label, after if ordered == processes else after._replace(processes=ordered), broken


def _all(world: World, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    yield from _people_and_time(world, rules, bounds)
    if not world.closed:
        for which in (0, 1):
            yield from _broker(world, which, rules)
    seen: set[Process] = set()
    for index, process in enumerate(world.processes):
        if process not in seen:
            seen.add(process)
            yield from _process(world, index, process, rules, bounds)


def _with_trade(world: World, which: int, trade: Trade) -> World:
    first, step = world.trades
    return world._replace(trades=(trade, step) if which == 0 else (first, trade))


def _with_process(world: World, index: int, process: Process) -> World:
    processes = world.processes
    return world._replace(processes=(*processes[:index], process, *processes[index + 1 :]))


def moved(trade: Trade, state: IntentState, rules: Rules) -> tuple[Trade, str]:
    """The trade after the journal took a state, and what that breaks."""
    current = trade.state
    if current is None:
        return trade, ""
    target = advance(current, state) if rules.observation_obeys_table else state
    if target is not current and current in TERMINAL_STATES and target is not S.FILLED:
        return trade, f"I10: a finished intent moved from {current} to {target}"
    return trade._replace(state=target), ""


def observed(trade: Trade, rules: Rules) -> tuple[Trade, str]:
    """The trade after every visible order of it was read."""
    broken = ""
    for status, visible in trade.orders:
        if visible:
            trade, broke = moved(trade, STATE_OF[status], rules)
            broken = broken or broke
            trade = trade._replace(booked=trade.booked or status in (FILLED, LATE))
    return trade, broken


# the world outside


def _people_and_time(world: World, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    claiming = any(process.at == CLAIMING for process in world.processes)
    if not world.closed:
        if not world.stopped and not rules.stop_writes_gate:
            yield "a stop is broadcast and confirmed", world._replace(stopped=True, raw_sent=True), ""
        elif not world.stopped and not (claiming and rules.gate_locked and rules.gate_checked):
            yield "a stop is committed", world._replace(stopped=True), ""
        if bounds.raw_stop and not world.raw_sent:
            yield "a stop is shouted on the bus", world._replace(raw_sent=True), ""
        if not claiming:
            yield "the session closes", _closed(world), ""
            if not world.late:
                yield "the approval's time passes", world._replace(late=True), ""
    if world.lease_valid:
        held = any(process.lease == CURRENT for process in world.processes)
        if not held:
            yield "the dead holder's lease ends", world._replace(lease_valid=False), ""
        elif world.lost_leases:
            after = world._replace(lease_valid=False, lost_leases=world.lost_leases - 1)
            yield "the sleeping holder's lease ends", after, ""


def _closed(world: World) -> World:
    trades = tuple(
        trade._replace(
            under_way=0, orders=tuple((EXPIRED if status == LIVE else status, True) for status, _ in trade.orders)
        )
        for trade in world.trades
    )
    processes = tuple(
        process._replace(tardy=True) if process.at == PERMITTED else process for process in world.processes
    )
    return world._replace(trades=(trades[0], trades[1]), processes=processes, closed=True, late=True)


def _broker(world: World, which: int, rules: Rules) -> Iterator[Step]:
    trade, name = world.trades[which], NAMES[which]
    if trade.under_way:
        yield f"a request of the {name} is lost", _with_trade(world, which, trade._replace(under_way=0)), ""
        yield from _lands(world, which, rules)
    for index, (status, visible) in enumerate(trade.orders):
        changes = []
        if not visible:
            changes.append((f"the {name} shows in look-ups", (status, True)))
        if status == LIVE:
            changes.append((f"the {name} fills", (FILLED, visible)))
        elif status == CANCELLED:
            changes.append((f"the cancelled {name} is reported filled", (LATE, visible)))
        for label, order in changes:
            orders = (*trade.orders[:index], order, *trade.orders[index + 1 :])
            yield label, _with_trade(world, which, trade._replace(orders=orders)), ""


def _lands(world: World, which: int, rules: Rules) -> Iterator[Step]:
    trade, name, first = world.trades[which], NAMES[which], world.trades[0]
    gone = trade._replace(under_way=trade.under_way - 1)
    refused = _answered(_with_trade(world, which, gone), which, "refused")
    if which == 1 and rules.step_replaces:
        if not has(first, LIVE):
            yield "the replacement comes too late and is refused", refused, ""
            return
        orders = tuple((REPLACED, visible) if status == LIVE else (status, visible) for status, visible in first.orders)
        world = _with_trade(world, 0, first._replace(orders=orders))
    else:
        yield f"the broker refuses the {name}", refused, ""
    for visible in (True, False):
        taken = gone._replace(orders=(*trade.orders, (LIVE, visible)))
        label = f"the broker takes the {name}" + ("" if visible else ", unseen by look-ups")
        yield label, _answered(_with_trade(world, which, taken), which, "accepted"), ""


def _answered(world: World, which: int, reply: str) -> World:
    """The reply reaches the process that waits for it, if there is one."""
    for index, process in enumerate(world.processes):
        if process.at == WAITING and process.about == which and not process.reply:
            return _with_process(world, index, process._replace(reply=reply))
    return world


# the executors


def _process(world: World, index: int, process: Process, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    at = process.at
    if at != IDLE:
        if world.crashes:
            yield "an executor dies", _with_process(world._replace(crashes=world.crashes - 1), index, _PLAIN), ""
        if world.raw_sent and not process.latched and not world.closed:
            yield "an executor hears the stop", _with_process(world, index, process._replace(latched=True)), ""
    if at == IDLE:
        yield from _takes_lease(world, index, rules)
    elif at == RECOVERING:
        yield from _recovers(world, index, process, rules)
    elif at == READY:
        yield from _ready(world, index, process, rules, bounds)
    elif at == CLAIMING:
        yield from _commits(world, index, process, bounds)
    elif at == PERMITTED:
        yield from _sends(world, index, process, rules)
    elif at == WAITING:
        yield from _waits(world, index, process, rules)
    else:
        yield from _doubts(world, index, process, rules)


def _back(world: World, index: int, process: Process) -> World:
    return _with_process(world, index, process._replace(at=READY, about=0, tardy=False, reply=""))


def _takes_lease(world: World, index: int, rules: Rules) -> Iterator[Step]:
    locked = rules.lease_checked and any(process.at == CLAIMING for process in world.processes)
    if world.lease_valid or locked:
        return
    processes = tuple(
        Process(RECOVERING, lease=CURRENT)
        if other == index
        else process._replace(lease=STALE)
        if process.lease == CURRENT
        else process
        for other, process in enumerate(world.processes)
    )
    yield "an executor takes the lease", world._replace(processes=processes, lease_valid=True), ""


def _recovers(world: World, index: int, process: Process, rules: Rules) -> Iterator[Step]:
    after = world
    for which, trade in enumerate(world.trades):
        if trade.state is S.SUBMITTING and not rules.recovery_never_sends:
            again = process._replace(at=PERMITTED, about=which)
            yield "recovery sends what was being sent", _with_process(world, index, again), ""
            return
        if trade.state is S.SUBMITTING and rules.recovery_marks_unknown:
            after = _with_trade(after, which, trade._replace(state=advance(trade.state, S.UNKNOWN)))
    yield "recovery marks what was being sent unknown", _back(after, index, process), ""


def _ready(world: World, index: int, process: Process, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    if process.lease == STALE:
        yield "an executor finds its lease lost", _with_process(world, index, _PLAIN), ""
    elif not world.lease_valid:
        yield "an executor renews its lease", world._replace(lease_valid=True), ""
    if process.latched and not world.stopped and not any(each.at == CLAIMING for each in world.processes):
        yield "an executor writes the gate", world._replace(stopped=True), ""
    yield from _claims(world, index, process, rules, bounds)
    for which, trade in enumerate(world.trades):
        if _locked(world, which, rules):
            continue
        if trade.state is S.APPROVED:
            if world.late:
                yield "the approval expires", _with_trade(world, which, trade._replace(state=S.EXPIRED)), ""
            elif world.stopped or process.latched:
                yield "the approval is withdrawn", _with_trade(world, which, trade._replace(state=S.WITHDRAWN)), ""
        if trade.orders:
            yield from _reads(world, which, trade, rules)
        yield from _cancels(world, which, trade, process, rules)
        if trade.state in (S.UNKNOWN, S.QUARANTINE):
            yield from _misses(world, index, process, which, rules)


def _locked(world: World, which: int, rules: Rules) -> bool:
    """Whether a claim holds the row of a trade; the claim of a step holds its parent's too."""
    return any(
        process.at == CLAIMING and (process.about == which or (process.about == 1 and rules.step_waits_for_parent))
        for process in world.processes
    )


def _claims(world: World, index: int, process: Process, rules: Rules, bounds: Bounds) -> Iterator[Step]:
    first, step = world.trades
    if (rules.gate_checked and world.stopped and rules.stop_writes_gate) or process.latched:
        return
    if rules.lease_checked and not (process.lease == CURRENT and world.lease_valid):
        return
    if rules.compare_and_set and any(each.at == CLAIMING for each in world.processes):
        return
    broken = "I14: an approval is claimed after its valid_until" if world.late else ""
    if not (world.late and rules.validity_checked) and (
        first.state is S.APPROVED or (not rules.compare_and_set and first.permits == 1)
    ):
        claiming = process._replace(at=CLAIMING, about=0)
        yield "an executor claims the order", _with_process(world, index, claiming), broken
    parents = (S.WORKING,) if rules.step_waits_for_parent else (S.WORKING, S.CANCEL_PENDING, S.CANCELLED, S.FILLED)
    if bounds.steps and step.state is None and first.state in parents and not world.late:
        claiming = process._replace(at=CLAIMING, about=1)
        yield "an executor claims a price step", _with_process(world, index, claiming), ""


def _commits(world: World, index: int, process: Process, bounds: Bounds) -> Iterator[Step]:
    which = process.about
    broken = "I4: a permit is committed after a stop" if world.stopped else ""
    if process.lease != CURRENT:
        broken = broken or "I15: a permit of an epoch that has passed"
    trade = world.trades[which]
    after = _with_trade(world, which, trade._replace(state=S.SUBMITTING, permits=trade.permits + 1))
    if which == 1:
        parent = world.trades[0]
        if parent.state is not S.WORKING:
            broken = broken or f"I10: a price step of an order that is {parent.state}"
        after = _with_trade(after, 0, parent._replace(state=S.REPLACE_PENDING))
    name = NAMES[which]
    yield f"the {name}'s permit is committed", _with_process(after, index, process._replace(at=PERMITTED)), broken
    if bounds.commit_doubt:
        mine, none = process._replace(at=DOUBT_MINE), process._replace(at=DOUBT_NONE)
        yield f"the {name}'s permit is committed, unheard", _with_process(after, index, mine), broken
        yield f"the {name}'s COMMIT never arrives", _with_process(world, index, none), ""


def _unsent(world: World, index: int, process: Process, rules: Rules) -> tuple[World, str]:
    """The process proves that its permit was not used."""
    trade, broken = moved(world.trades[process.about], S.NOT_SENT, rules)
    return _back(_give_back(_with_trade(world, process.about, trade), process.about, rules), index, process), broken


def _give_back(world: World, which: int, rules: Rules) -> World:
    """A replacement that did not happen leaves the old order working."""
    parent = world.trades[0]
    if which == 1 and parent.state is S.REPLACE_PENDING:
        return _with_trade(world, 0, moved(parent, S.WORKING, rules)[0])
    return world


def _sends(world: World, index: int, process: Process, rules: Rules) -> Iterator[Step]:
    which, name = process.about, NAMES[process.about]
    if not process.tardy:
        yield "the send deadline passes", _with_process(world, index, process._replace(tardy=True)), ""
    if (process.latched and rules.latch_kept) or (process.tardy and rules.deadline_kept):
        after, broken = _unsent(world, index, process, rules)
        yield f"the {name} is not sent", after, broken
        return
    broken = "I14: a request leaves after its deadline" if process.tardy else ""
    if process.latched:
        broken = "I4: a request leaves a process that heard the stop"
    trade = world.trades[which]
    sent = trade._replace(under_way=trade.under_way + 1, requests=trade.requests + 1)
    waiting = process._replace(at=WAITING, tardy=False, reply="")
    yield f"the {name} is sent", _with_process(_with_trade(world, which, sent), index, waiting), broken


def _waits(world: World, index: int, process: Process, rules: Rules) -> Iterator[Step]:
    which, name, trade = process.about, NAMES[process.about], world.trades[process.about]
    if process.reply == "accepted":
        acked, broken = moved(trade, S.ACKED, rules)
        yield f"the {name} is acknowledged", _back(_with_trade(world, which, acked), index, process), broken
    elif process.reply == "refused":
        rejected, broken = moved(trade, S.REJECTED, rules)
        after = _give_back(_with_trade(world, which, rejected), which, rules)
        yield f"the {name} is rejected", _back(after, index, process), broken
    if not rules.sent_once:
        again = process._replace(at=PERMITTED, reply="")
        yield f"the {name}'s reply times out; it is sent again", _with_process(world, index, again), ""
        return
    ended, broken = moved(trade, S.UNKNOWN if rules.timeout_is_unknown else S.REJECTED, rules)
    yield f"the {name}'s reply times out", _back(_with_trade(world, which, ended), index, process), broken


def _doubts(world: World, index: int, process: Process, rules: Rules) -> Iterator[Step]:
    mine = process.at == DOUBT_MINE
    if not rules.doubt_never_sends:
        yield "after the lost COMMIT it goes on", _with_process(world, index, process._replace(at=PERMITTED)), ""
        return
    state = world.trades[process.about].state
    if (mine or not rules.doubt_reads_epoch) and state in _UNSENT:
        after, broken = _unsent(world, index, process, rules)
        yield "the row is read again: own permit, not sent", after, broken
    else:
        yield "the row is read again: nothing to do", _back(world, index, process), ""


def _reads(world: World, which: int, trade: Trade, rules: Rules) -> Iterator[Step]:
    seen, broken = observed(trade, rules)
    if broken or seen != trade:
        yield f"the {NAMES[which]} is read as it is", _with_trade(world, which, seen), broken
    if any(visible for _, visible in trade.orders):
        old, broken = moved(trade, S.WORKING, rules)
        if broken or old != trade:
            yield f"an old message shows the {NAMES[which]} working", _with_trade(world, which, old), broken


def _cancels(world: World, which: int, trade: Trade, process: Process, rules: Rules) -> Iterator[Step]:
    if not (world.stopped or process.latched or world.late):
        return
    works = (LIVE, True) in trade.orders
    if works and (rules.stop_reads_broker or trade.state in AT_BROKER):
        orders = tuple((CANCELLED, True) if order == (LIVE, True) else order for order in trade.orders)
        state = S.CANCEL_PENDING if trade.state in (S.ACKED, S.WORKING) else trade.state
        yield (
            f"the {NAMES[which]} is cancelled",
            _with_trade(world, which, trade._replace(orders=orders, state=state)),
            "",
        )
    elif works and world.stopped and not any(each.state in AT_BROKER | {S.SUBMITTING} for each in world.trades):
        yield "the stop is reported clean", world, "a stop is reported clean while an order works"


def _misses(world: World, index: int, process: Process, which: int, rules: Rules) -> Iterator[Step]:
    trade, name = world.trades[which], NAMES[which]
    if any(visible for _, visible in trade.orders):
        return
    if not rules.absence_waits:
        again = process._replace(at=PERMITTED, about=which)
        yield f"the {name} is not listed; it is sent again", _with_process(world, index, again), ""
    elif trade.state is S.UNKNOWN:
        aside = _with_trade(world, which, moved(trade, S.QUARANTINE, rules)[0])
        yield f"the {name} is not listed and set aside", _give_back(aside, which, rules), ""
    elif world.closed or not rules.dead_after_session:
        yield f"the {name} is called dead", _with_trade(world, which, moved(trade, S.DEAD, rules)[0]), ""
