"""Hard tasks run in processes of their own: they use another core, and one that overruns is really killed."""

from schedulergodx import Client, TaskTimedOut

client = Client(name="hard-work", hard_task_lifetime=30)


@client.task(hard=True)
def count_primes(below: int) -> int:
    """Count primes the slow way."""
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, below))


@client.task(hard=True, hard_task_lifetime=0.5)
def never_ends() -> None:
    """Spin until killed."""
    while True:
        pass


if __name__ == "__main__":
    with client:
        stuck = never_ends.launch()
        print("primes below 20000:", count_primes.launch(20_000).result(timeout_s=30))
        try:
            stuck.result(timeout_s=10)
        except TaskTimedOut as error:
            print(error.message)
