"""How far a value may be trusted, in one word and one reason. Pure tables over status and flags."""

from typing import NamedTuple

from davy.console.picture import NEVER, Latest
from davy.reading import Flag, Status, Tag
from davy.reading.status import severity

#: kinds: good, unc(ertain), stale, bad. The look of each is design/console.md 3.
KINDS = ("good", "unc", "stale", "bad")


class Quality(NamedTuple):
    """kind: one of KINDS; why: a key of the catalogue, "" when good; icon: symbol of the sprite."""

    kind: str
    why: str
    icon: str


_STATUS = {
    Status.BadWaitingForInitialData: "q_waiting",
    Status.BadNoData: "q_waiting",
    Status.BadNotConnected: "q_lost",
    Status.BadNoCommunication: "q_lost",
    Status.BadCommunicationError: "q_lost",
    Status.BadTimeout: "q_lost",
    Status.BadSensorFailure: "q_sensor",
    Status.BadDeviceFailure: "q_device",
    Status.BadConfigurationError: "q_config",
    Status.BadOutOfService: "q_oos",
    Status.UncertainLastUsableValue: "q_last",
    Status.UncertainNoCommunicationLastUsableValue: "q_last",
    Status.UncertainSensorNotAccurate: "q_drift",
    Status.GoodLocalOverride: "q_substituted",
}
#: The first flag that is set gives the reason; the most telling one stands first.
_FLAGS = (
    (Flag.over_range, "q_over"),
    (Flag.under_range, "q_under"),
    (Flag.calibration, "q_calibration"),
    (Flag.maintenance, "q_maintenance"),
    (Flag.bypass, "q_bypass"),
    (Flag.blocked, "q_blocked"),
    (Flag.substituted, "q_substituted"),
    (Flag.spike, "q_spike"),
    (Flag.rate, "q_rate"),
    (Flag.clock_suspect, "q_clock"),
    (Flag.future, "q_future"),
)
#: These make a value doubtful on a screen even where its status is still Good.
_DOUBT = Flag.calibration | Flag.maintenance | Flag.bypass | Flag.substituted | Flag.blocked | Flag.spike | Flag.rate
_UNDATED = Flag.no_source_time | Flag.future | Flag.clock_suspect
_FALLBACK = {"bad": "q_bad", "uncertain": "q_uncertain", "good": "q_uncertain"}


def age_of(reading: Latest, now_us: int) -> int:
    """us since the device took it, or since it came where the device's time cannot be believed."""
    taken = reading.server_time if reading.flags & _UNDATED else min(reading.source_time, reading.server_time)
    return max(0, now_us - taken)


def judge(tag: Tag, reading: Latest, now_us: int) -> Quality:
    """What to say of `reading` at `now_us`. A value past its `stale_after` is stale whatever the core said last."""
    if reading.server_time == NEVER:
        return Quality("bad", "q_waiting", "bad")
    level = severity(reading.status)
    silent = tag.stale_after is not None and age_of(reading, now_us) > tag.stale_after
    if reading.flags & Flag.stale or (silent and level != "bad"):
        return Quality("stale", "q_stale", "stale")
    why = next((word for flag, word in _FLAGS if reading.flags & flag), None) or _STATUS.get(
        Status(reading.status) if reading.status in Status._value2member_map_ else Status.Good
    )
    if level == "bad" or reading.value != reading.value:
        return Quality("bad", why or "q_bad", "oos" if why == "q_oos" else "bad")
    if reading.flags & Flag.frozen:
        return Quality("stale", "q_frozen", "stale")
    if level == "uncertain" or reading.flags & _DOUBT or reading.status == Status.GoodLocalOverride:
        return Quality("unc", why or _FALLBACK[level], "unc")
    return Quality("good", "", "")
