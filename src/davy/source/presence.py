"""Whether a peer is there: said once when it goes and once when it is back."""

import structlog

log = structlog.get_logger()


class Presence:
    """The last known state of one peer; logs changes only. Owned by the source's task."""

    def __init__(self, **names: object) -> None:
        self.names = names  # log fields: source, unit
        self.up: bool | None = None
        self.reason = ""

    def lost(self, reason: str, err: object) -> bool:
        """The peer is gone. True when that is news."""
        news = self.up is not False
        self.up, self.reason = False, reason
        if news:
            log.warning("source_lost", **self.names, reason=reason, err=str(err))
        return news

    def back(self) -> bool:
        """The peer answers. True when it had been lost."""
        news = self.up is False
        self.up, self.reason = True, ""
        if news:
            log.info("source_recovered", **self.names)
        return news
