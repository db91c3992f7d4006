"""The embedded transport: queues in one SQLite file, for the processes of one machine, without a server.

**Journal.** The file uses a rollback journal (`journal_mode=PERSIST`), not WAL. Here every client and service writes,
and SQLite 3.7.0 to 3.51.2 has a rare race between connections that write or checkpoint at the same moment while the
WAL is reset, which can lose what was committed. PERSIST rather than DELETE because with `synchronous=FULL` it also
syncs the journal that is over, by zeros at its head: with DELETE, a power loss could bring it back and undo a confirmed
message. TRUNCATE syncs it too, and a commit took a quarter more with it: each changed the size of a file.

**Throughput.** One thread with one connection does everything, and commits all that waits for it in one transaction:
the cost of a commit is shared by whatever comes in while the one before is written.

**Who is alive.** Each consuming transport holds a lock on a file in `<path>-owners/`. The system releases it when the
process dies, and within a second another one gives back what it held.

The file must be on a local disk: locks of network file systems cannot be trusted.
"""

from schedulergodx.transport.sqlite.transport import SqliteTransport

__all__ = ["SqliteTransport"]
