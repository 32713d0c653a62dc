"""fact -> leaf -> checkpoint -> proof; keys, mirror, fsck. Knows bytes, not alarms."""
