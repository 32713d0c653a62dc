"""Settings of a Modbus TCP link, as they stand in site.yaml."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from davy.settings import Settings
from davy.source.duration import Duration


class ModbusTcp(Settings):
    """One TCP connection to a device or a gateway, and how it is polled."""

    kind: Literal["modbus-tcp"]
    address: str = Field(description="Host and port of the device; port 502 where none is given.")
    unit: int = Field(1, ge=0, le=255, description="Unit of the addresses that name none.")
    poll: Duration = Field("1s", validate_default=True, description="Time between polls, on a wall-clock grid.")
    offset: Duration = Field("0s", validate_default=True, description="Moves the grid, so links do not poll together.")
    timeout: Duration = Field("500ms", validate_default=True, description="Deadline of a connect and of each request.")
    max_gap: int = Field(8, ge=0, le=124, description="Unwanted registers read along to merge two requests into one.")
    max_registers: int = Field(125, ge=4, le=125, description="Longest request; some devices take fewer than 125.")
    skip_after: int = Field(3, ge=1, description="Polls in a row a unit may fail before it is skipped.")
    skip_for: Duration = Field("10s", validate_default=True, description="How long a failing unit is left alone.")
    retry: Duration = Field("500ms", validate_default=True, description="First pause between attempts to connect.")
    retry_max: Duration = Field("15s", validate_default=True, description="Longest pause between attempts to connect.")

    @field_validator("address")
    @classmethod
    def _address(cls, text: str) -> str:
        split(text)
        return text

    @model_validator(mode="after")
    def _consistent(self) -> "ModbusTcp":
        if not self.poll >= 10_000:
            raise ValueError("poll: expected at least 10ms")
        if self.offset >= self.poll:
            raise ValueError("offset: expected less than poll")
        if not 0 < self.timeout <= 60_000_000:
            raise ValueError("timeout: expected more than 0 and at most 60s")
        if not 0 < self.retry <= self.retry_max:
            raise ValueError("retry: expected more than 0 and at most retry_max")
        return self


def split(address: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`. Raises ValueError."""
    host, bracket, rest = address.strip().removeprefix("[").partition("]") if address.startswith("[") else ("", "", "")
    if not bracket:
        host, colon, rest = address.strip().partition(":")
        rest = colon + rest
    port = rest.removeprefix(":") if rest else "502"
    if not host or (rest and not rest.startswith(":")) or not port.isascii() or not port.isdigit():
        raise ValueError(f'expected host:port such as "10.0.0.5:502", got {address!r}')
    if not 0 < int(port) < 65536:
        raise ValueError(f"expected a port between 1 and 65535, got {port}")
    return host, int(port)
