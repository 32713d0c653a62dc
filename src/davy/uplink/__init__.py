"""A cursor over the black box toward the centre: sealed leaves go up, cosigned checkpoints come back.

In: the log on disk (LogReader), its keyring folder. Out: HTTPS requests, `run/uplink.json`, `cosigned`
beside the log. Promise: nothing is dropped and nothing needs remembering; where to go on is what the
centre says it holds. Transitions go first.
"""
