"""The half that stores and runs: `Service`, and where its RabbitMQ is."""

from typing import TYPE_CHECKING

from schedulergodx.lazy import importer

if TYPE_CHECKING:
    from schedulergodx.service import consumer as consumer
    from schedulergodx.service import core as core
    from schedulergodx.service import publisher as publisher
    from schedulergodx.service.core import Service
    from schedulergodx.service.stopping import StopReport
    from schedulergodx.utils.rmq_property import RmqConnect
else:
    # The processes of hard tasks import modules of this package, and shall not have all of the service in them.
    __getattr__ = importer(
        __name__,
        {
            "RmqConnect": "schedulergodx.utils.rmq_property",
            "Service": "schedulergodx.service.core",
            "StopReport": "schedulergodx.service.stopping",
            "consumer": "schedulergodx.service.consumer",
            "core": "schedulergodx.service.core",
            "publisher": "schedulergodx.service.publisher",
        },
    )

__all__ = ["RmqConnect", "Service", "StopReport"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
