"""A batch: its launches are confirmed together at the end of the block, which is many times faster."""

from schedulergodx import Client

client = Client(name="many")


@client.task
def square(number: int) -> int:
    """Return the square."""
    return number * number


if __name__ == "__main__":
    with client:
        with client.batch():
            ids = [square.launch(number) for number in range(200)]
        print("sum of 200 squares:", sum(message_id.result(timeout_s=30) for message_id in ids))
