"""A service with limits of its own. It blocks until Ctrl-C or SIGTERM, and then lets running tasks end."""

import logging

from schedulergodx import Service
from schedulergodx.config import ServiceLimits

logging.basicConfig(level=logging.INFO)

service = Service(
    name="examples",
    db="examples.db",
    threads=4,
    processes=2,
    limits=ServiceLimits(stop_grace_s=10, overdue_grace_s=30),
)

if __name__ == "__main__":
    report = service.start()
    print("everything was handed over" if report.is_clean else f"left behind: {report}")
