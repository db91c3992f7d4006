"""A task that launches the next one from inside the service: the client travels with it, without its password."""

from schedulergodx import Client

client = Client(name="chain")


@client.task
def count_down(number: int) -> str:
    """Launch the next step, or say that this was the last, and return the id of what follows."""
    return str(count_down.launch(number - 1)) if number else "done"


if __name__ == "__main__":
    with client:
        answer = count_down.launch(3).result(timeout_s=10)
        steps = 1
        while answer != "done":
            answer = client.result(answer, timeout_s=10)
            steps += 1
        print(f"{steps} steps, {answer}")
