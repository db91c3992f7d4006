"""`SchedulerRabbitMQ`, a RabbitMQ in a container, under the name by which users of testcontainers look for it.

```python
from schedulergodx_testing.containers import SchedulerRabbitMQ

with SchedulerRabbitMQ("rabbitmq:4") as broker, broker.private_vhost() as url:
    ...  # broker.restart(), .kill(), .pause(), .memory_alarm(True), .delete_queue(name), .close_connections()
```

Its home is `schedulergodx_testing.rabbitmq`, beside `LocalRabbitMQ`, the same without Docker. In pytest, the fixtures
`rabbitmq` (one for the session, which is one for each worker of pytest-xdist) and `rabbitmq_vhost_url` (a virtual host
for each test) hand them out.
"""

from schedulergodx_testing.rabbitmq import SchedulerRabbitMQ, TLSFiles

__all__ = ["SchedulerRabbitMQ", "TLSFiles"]
