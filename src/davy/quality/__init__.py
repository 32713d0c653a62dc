"""Readings -> judged Readings: how far to trust each one, and why.

Enters a batch as a source made it; leaves the same batch with `status` and `flags` judged. Values
and times are never touched, a source's Bad status and its flags are never taken back, and no value
or time makes it raise. Pure: time comes in with the batch.

What is judged, and what a reading may move:

| finding | when | effect |
|---|---|---|
| over_range, under_range | outside range_low..range_high | flag; UncertainEngineeringUnitsExceeded |
| fault band (NE 43) | 4-20 mA equivalent <= 3.6 or >= 21.0 mA, or infinite | range flag kept; BadSensorFailure |
| no number | NaN with a status that is not Bad | Bad |
| future | source_time > server_time + FUTURE_TOLERANCE | flag; does not move the tag's newest time |
| out_of_order | source_time < the tag's newest | flag; moves nothing but "heard from" |
| duplicate | source_time, value bits and status as the reading before | flag |
| frozen | value unchanged for frozen_after | flag; UncertainLastUsableValue |
| stale | nothing heard for stale_after (`Judge.stale`, by the tick) | flag; BadNoCommunication |

A range flag stays on a reading whose status turns Bad: over-range in the direction of the hazard
counts as beyond every limit (contracts.md 5), and `alarm` must see it even where NE 43 calls the
same current a broken sensor. A status only ever gets worse, and only across severities: at the
same severity the code that came with the reading knows better.
"""

from davy.quality.judge import FUTURE_TOLERANCE, Judge

__all__ = ["FUTURE_TOLERANCE", "Judge"]
