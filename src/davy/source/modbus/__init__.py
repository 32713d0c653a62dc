"""Modbus TCP: registers in, Readings out, on a wall-clock grid. See README.md for what is promised."""

from davy.source.modbus.config import ModbusTcp
from davy.source.modbus.link import ModbusLink, check

__all__ = ["ModbusLink", "ModbusTcp", "check"]
