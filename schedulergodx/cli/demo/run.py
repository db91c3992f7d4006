"""The demo's run: greet the service, launch everything in one moment, and watch until all has ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from schedulergodx.cli.demo.course import Course
from schedulergodx.cli.demo.steps import child_step, greeting, steps
from schedulergodx.cli.demo.views import view
from schedulergodx.clock import SystemClock
from schedulergodx.utils.storage.reader import reader

if TYPE_CHECKING:
    from schedulergodx.cli.demo.process import ServiceProcess
    from schedulergodx.cli.terminal import Terminal
    from schedulergodx.client.core import Client

REFRESH_S = 0.1
"""How often the database is looked at, and the table redrawn."""
GREETING_S = 10.0
"""For the service to start and to answer a first task."""
WATCH_S = 8.0
"""For everything to end; what has not by then has no answer."""
_LAST_WORD_S = 2.0


class DemoFailed(Exception):
    """There is no service to go on with; the message says why."""


class Run:
    """One run of the demo, with a client and a service that are there already."""

    def __init__(self, client: Client, service: ServiceProcess, terminal: Terminal) -> None:
        self._client = client
        self._service = service
        self._terminal = terminal
        self._clock = SystemClock()

    async def through(self) -> list[Course]:
        """Launch, watch, and return how everything went.

        Raises:
            DemoFailed: the service ended, or does not answer.
            BrokerError: the broker was not reached, or it refused.
        """
        began = self._clock.monotonic()
        await self._greet()
        answered_s = self._clock.monotonic() - began
        self._terminal.print(
            f"The service, process {self._service.pid}, answered a first task after {answered_s:.2f} s"
        )
        courses = [Course(step=step) for step in steps(self._client)]
        ids = await asyncio.gather(*(course.step.task.launch_async(*course.step.args) for course in courses))
        for course, message_id in zip(courses, ids, strict=True):
            course.message_id = message_id
        # Not launched here: its parent brings its id.
        courses.append(Course(step=child_step(self._client)))
        await self._watch(courses)
        return courses

    async def _greet(self) -> None:
        task = asyncio.ensure_future(self._launch_greeting())
        end = self._clock.monotonic() + GREETING_S
        try:
            while not task.done() and self._service.exit_code is None and self._clock.monotonic() < end:
                await asyncio.wait({task}, timeout=REFRESH_S)
            if self._service.exit_code is not None:
                # What stopped it may stop the client, too, which can say it better: a refusal of the broker.
                await asyncio.wait({task}, timeout=_LAST_WORD_S)
            if task.done():
                await task
            self._check_service()
            if not task.done():
                raise DemoFailed(f"The service did not answer a first task within {GREETING_S:g} s; its log ends with:")
        finally:
            task.cancel()

    async def _launch_greeting(self) -> None:
        await (await greeting(self._client).launch_async(0.0, "hello"))

    async def _watch(self, courses: list[Course]) -> None:
        """Show how it goes, at most ten times a second, until all has ended or the time is over."""
        screen = view(self._terminal, lines=len(courses))
        began = self._clock.monotonic()
        followed: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._follow(courses, followed)
                pending = [task for task in followed.values() if not task.done()]
                elapsed_s = self._clock.monotonic() - began
                self._look(courses)
                screen.show(courses, elapsed_s)
                if not pending or elapsed_s > WATCH_S:
                    return
                self._check_service()
                await asyncio.wait(pending, timeout=REFRESH_S)
        finally:
            for task in followed.values():
                task.cancel()

    def _follow(self, courses: list[Course], followed: dict[str, asyncio.Task[None]]) -> None:
        """Wait for the answer of whatever has an id by now."""
        new_ids = [course.new_id for course in courses if course.new_id]
        for course in courses:
            if not course.message_id and new_ids:
                course.message_id = new_ids[0]
            if course.message_id and course.message_id not in followed:
                followed[course.message_id] = asyncio.create_task(course.follow(self._client, self._clock))

    def _look(self, courses: list[Course]) -> None:
        """Read where everything is from the database of the service, which does not notice."""
        with reader(self._service.db) as look:
            for course in courses:
                course.state = look.find(course.message_id)

    def _check_service(self) -> None:
        if (code := self._service.exit_code) is not None:
            raise DemoFailed(f"The service ended by itself, with exit code {code}; its log ends with:")
