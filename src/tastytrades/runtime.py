"""Where the product keeps its data, and the fault that a user can mend."""

from __future__ import annotations

import os
from pathlib import Path


class RuntimeFault(RuntimeError):
    """Something the user can mend; the text says how. The command line prints it as one line."""


def default_data_dir() -> Path:
    """`TT_DATA_DIR`, else `.data` in the current folder."""
    return Path(os.environ.get("TT_DATA_DIR") or ".data").resolve()
