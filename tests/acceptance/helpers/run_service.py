"""A service as a program. Its argument is the JSON of the parameters of `Service`; it logs everything to stderr."""

import json
import logging
import sys

import schedulergodx.service as scheduler

if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s - %(name)s:%(message)s")
    print("report", scheduler.Service(**json.loads(sys.argv[1])).start(), flush=True)  # noqa: T201 - a program
