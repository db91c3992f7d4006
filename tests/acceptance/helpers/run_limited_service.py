"""A service as a program. Its arguments: the JSON of parameters of `Service`, and that of its `ServiceLimits`."""

import json
import logging
import sys

import schedulergodx.service as scheduler
from schedulergodx.config import ServiceLimits

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s - %(name)s:%(message)s")
    parameters, limits = map(json.loads, sys.argv[1:])
    service = scheduler.Service(**parameters, limits=ServiceLimits(**limits))
    print("report", service.start(), flush=True)  # noqa: T201 - a program
