"""A function goes to the service, and its result comes back. So does its failure."""

from schedulergodx import Client, TaskRaised

client = Client(name="first")


@client.task
def divide(a: float, b: float) -> float:
    """Run in the service, which needs none of this file."""
    return a / b


if __name__ == "__main__":
    with client:
        print("7 / 2 =", divide.launch(7, b=2).result(timeout_s=10))
        try:
            divide.launch(7, b=0).result(timeout_s=10)
        except TaskRaised as error:
            print(f"7 / 0 raised {error.exception_type}: {error.message}")
        print("here and now:", divide(1, 4))
