"""Stop all trading by the raw control message, when neither the page nor the API answers.

Run it in a container of the gateway: `python /opt/tastytrades/kill.py why`. Exit 0 when a process confirmed, else 1.
"""

import asyncio
import os
import socket
import sys
import uuid
from datetime import UTC, datetime

from schemas.account import GateMode, KillScope
from schemas.commands import KillCommand
from tastytrades.killing import broadcast


def main(why: str) -> int:
    """Send the stop several times and print who confirmed it."""
    command = KillCommand(
        ts_event=datetime.now(UTC),
        scope=KillScope.ALL,
        scope_value="",
        mode=GateMode.CANCEL_WORKING,
        who=f"operator@{socket.gethostname()}",
        why=why,
        command_id=str(uuid.uuid4()),
    )
    confirmed = asyncio.run(broadcast(os.environ["TT_NATS_URL"], command))
    if not confirmed:
        sys.stdout.write("nobody confirmed: stop the executor, then cancel at the broker\n")
        return 1
    sys.stdout.write(f"stopped; confirmed by {', '.join(sorted(confirmed))}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:]) or "stopped by the raw control message"))
