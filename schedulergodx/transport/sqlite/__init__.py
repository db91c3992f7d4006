"""The embedded transport: queues in one SQLite file, for the processes of one machine, without a server.

**Log.** The file has a write-ahead log, so that a commit is one write; with a rollback journal it was three, each with
a sync. Three things about such a log have to be seen to, since every client and service writes here:

* SQLite 3.7.0 to 3.51.2 has a rare race (sqlite.org/wal.html#walresetbug) that can lose what was committed: one
  connection begins the log anew while another brings it into the file. So whoever writes has `<path>-lock`, and a
  commit that finds the log long brings it into the file before it lets go of that. Besides, SQLite does so at the last
  close alone, when nobody else has the file.
* A fork copies what SQLite knows of the log, and not the locks that go with it: the child would take itself for one
  that has the file open, and nobody else would. So the file is closed while the process forks, and opened again later.
* Somebody who reads without end keeps the log from being begun anew. When it has become very long, nothing is written
  any more until that is over.

A commit is seen by others at once, and what is sent is synced before it is confirmed: a message may be taken, and even
be answered, before its sender knows that it lasts. That a message was taken, or acked, is not synced by itself: after a
loss of power it comes again, as after any crash.

Where programs cannot share memory by a file, and while one of an earlier version has the file open, it is kept with a
rollback journal and `synchronous=FULL`, as it was before.

**Throughput.** One thread with one connection does everything, and commits all that waits for it in one transaction:
the cost of a commit is shared by whatever comes in while the one before is written.

**Who is alive.** Each consuming transport holds a lock on a file in `<path>-owners/`. The system releases it when the
process dies, and within a second another one gives back what it held.

The file must be on a local disk: locks of network file systems cannot be trusted.
"""

from schedulergodx.transport.sqlite.transport import SqliteTransport

__all__ = ["SqliteTransport"]
