"""Refusals for want of room come by the hundred: one line in the log for many."""

import asyncio
import logging

_log = logging.getLogger(__name__)

_REPORT_EACH_S = 10.0


class Refusals:
    """Counts them, and tells of them at once and then every ten seconds."""

    def __init__(self) -> None:
        self._all = self._told = 0
        self._latest = ""
        self._reporting = False

    def count(self, why: str) -> None:
        """One more, in the loop; what it was told."""
        self._all += 1
        self._latest = why
        if not self._reporting:
            self._report()

    def _report(self) -> None:
        """Tell of those since the last line, and so again while there are some."""
        self._reporting = self._all > self._told
        if self._reporting:
            told = "overloaded: %d requests refused so far; the latest was told: %s"
            _log.warning(told, self._all, self._latest)
            self._told = self._all
            asyncio.get_running_loop().call_later(_REPORT_EACH_S, self._report)
