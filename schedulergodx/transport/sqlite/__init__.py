"""The embedded transport: queues in one SQLite file, for the processes of one machine, without a server.

**Journal.** The file has a write-ahead log, so that a commit is one write that is synced: with a rollback journal it
was three, and a task by itself took nearly twice as long. Here every client and service writes, and SQLite 3.7.0 to
3.51.2 has a rare race (sqlite.org/wal.html#walresetbug) that can lose what was committed: one connection begins the log
anew while another brings it into the file. So whoever writes has `<path>-lock`, and brings the log into the file now
and then, before letting go of it; by itself SQLite does so at the last close alone, when nobody else is there.
What is published is synced before it is confirmed. That a message was taken, or acked, is not: after a loss of power it
comes again, as after any crash, and whoever takes it knows it by its id.

**Throughput.** One thread with one connection does everything, and commits all that waits for it in one transaction:
the cost of a commit is shared by whatever comes in while the one before is written.

**Who is alive.** Each consuming transport holds a lock on a file in `<path>-owners/`. The system releases it when the
process dies, and within a second another one gives back what it held.

The file must be on a local disk: locks of network file systems cannot be trusted.
"""

from schedulergodx.transport.sqlite.transport import SqliteTransport

__all__ = ["SqliteTransport"]
