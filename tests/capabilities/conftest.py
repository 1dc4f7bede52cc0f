from __future__ import annotations

from hypothesis import settings

# A busy machine makes a slow example, not a wrong one.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")
