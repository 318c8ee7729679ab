"""Exit 0 when what runs in this container is ready, else print why and exit 1. Standard library only: it runs often."""

import sys
from http.client import HTTPConnection, HTTPException


def main(path: str = "/readyz", port: int = 8080) -> int:
    """Ask once. The simulator's path is /sim/health."""
    connection = HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        reason = answer.read(500).decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        sys.stdout.write(f"no answer on port {port} ({type(error).__name__})\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{reason}\n")
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
