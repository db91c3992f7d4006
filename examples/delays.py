"""Now, later, and at a moment. What waits costs nothing but disk, and never starts early."""

from datetime import UTC, datetime, timedelta

from schedulergodx import Client

ON_TIME_S = 1.0

client = Client(name="delays")


@client.task
def note(what: str) -> str:
    """Return what was noted."""
    return what


if __name__ == "__main__":
    with client:
        later = note.options(delay=1).launch("a second later")
        at = note.launch_at(datetime.now(UTC) + timedelta(seconds=0.5), "at a moment")
        now = note.launch("now")
        for message_id in (now, at, later):
            what = message_id.result(timeout_s=10)
            outcome = message_id.outcome()
            if outcome is None or outcome.started_at is None or outcome.run_at is None:
                raise SystemExit(f"{what}: never started")
            late_s = (outcome.started_at - outcome.run_at).total_seconds()
            print(f"{what}: started {'on time' if 0 <= late_s < ON_TIME_S else f'{late_s:.3f} s off'}")
