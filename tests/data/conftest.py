from __future__ import annotations

import sys
from pathlib import Path

# Arrays of every type, as the fuzzer has them.
sys.path.append(str(Path(__file__).parents[1] / "fuzz"))
