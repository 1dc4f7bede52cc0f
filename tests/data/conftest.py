from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

# Arrays of every type, as the fuzzer has them.
sys.path.append(str(Path(__file__).parents[1] / "fuzz"))

# A busy machine makes a slow example, not a wrong one.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")
