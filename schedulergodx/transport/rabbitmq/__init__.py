"""The transport over RabbitMQ, and the only place that imports pika.

```
RabbitMQTransport          every thread calls it; it only hands over              transport.py
├── Link (publishing)      one connection in one thread, kept up                  connection.py
│   └── Publisher          confirms, returns, what to send again                  publisher.py
└── Link (consuming)       made at the first consume
    └── Consumer           one Subscription for each queue: owner, declare, qos,  consumer.py, subscription.py
                           consume, acks (acks.py)
Declarer                   queues, on a channel of its own on either connection   declare.py
```

pika is not thread-safe, so everything of a connection happens in its link's thread. Commands go in through a deque
with one wake-up for many of them, events come out through `on_event`.
"""

from schedulergodx.transport.rabbitmq.transport import RabbitMQTransport

__all__ = ["RabbitMQTransport"]
