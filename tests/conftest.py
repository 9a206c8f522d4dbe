"""Settings of every test: one thread per process, the same examples on every run, Ctrl-C heard."""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch

# A shell starts what it runs in the background with interrupts ignored; a test that waits for one
# would then wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import HealthCheck, settings

settings.register_profile(
    "gate",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
