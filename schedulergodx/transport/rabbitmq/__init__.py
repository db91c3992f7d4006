"""RabbitMQ through pika: the one package that imports pika."""
