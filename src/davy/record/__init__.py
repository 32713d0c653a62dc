"""Judged readings and transitions as history: a projection of the log that can be thrown away and rebuilt.

Leaves of one origin's log come in, in order; what stands in its folder are Parquet files whose names say
which times and which leaves they hold, and a position file that says up to which leaf they are complete.
Promised: after a crash at any step nothing of the log is missing and nothing is there twice; every value
comes back bit for bit, with its status, flags and both times; a query sees everything up to the last leaf
read, the last minute from memory. History is never evidence: the log is.
"""
