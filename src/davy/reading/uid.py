"""Identities that never change and sort by when they were made."""

import uuid


def uuid7(now_us: int, entropy: bytes) -> str:
    """A UUIDv7 (RFC 9562 5.7) as text. now_us: us UTC; entropy: at least 10 random bytes."""
    milliseconds = (now_us // 1000) & ((1 << 48) - 1)
    low = int.from_bytes(entropy[:10], "big")
    number = milliseconds << 80 | 7 << 76 | (low >> 68 & 0xFFF) << 64 | 2 << 62 | low & ((1 << 62) - 1)
    return str(uuid.UUID(int=number))
