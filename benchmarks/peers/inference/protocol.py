"""How the benchmark talks to one side: a job per line in, a result per line out, both JSON.

A worker imports its library, says so, and then does jobs until its input ends, so that sides can be
run turn about in processes that stay warm. Needs numpy and nothing else.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Result = dict[str, Any]
Job = Callable[..., tuple[dict[str, Any], Result]]  # options -> draws by site, facts


def cpu() -> float:
    """CPU seconds of this process and of the children that it has waited for (compilers)."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, both))


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def serve(jobs: dict[str, Job]) -> None:
    """Do jobs until the input ends, once all imports are done.

    A line ``{"job": name, "file": path or null, ...options}`` runs ``jobs[name](**options)``.
    """
    say(ready=True, import_cpu=cpu())
    for line in sys.stdin:
        options = json.loads(line)
        job, file = options.pop("job"), options.pop("file", None)
        wall, used = time.time(), cpu()
        draws, facts = jobs[job](**options)
        facts = {"wall": time.time() - wall, "cpu": cpu() - used, **facts}
        if file:
            np.savez(file, **{name: np.asarray(value) for name, value in draws.items()})
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(**facts, rss_mb=peak, load=os.getloadavg()[0], total_cpu=cpu())
