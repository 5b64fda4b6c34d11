#!/usr/bin/env python3
"""Modbus units played by pymodbus: modbus_units.py tcp PORT | rtu TERMINAL.

Unit 1 is a relay board whose first input register pairs hold a float that grows with every reading. Other units do not
answer. Every write is printed.
"""

import asyncio
import logging
import struct
import sys

from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

UNIT = SimDevice(id=1, simdata=(
    [SimData(0, count=16, values=False, datatype=DataType.BITS)],
    [SimData(0, count=16, values=True, datatype=DataType.BITS)],
    [SimData(0, count=64, values=7, datatype=DataType.REGISTERS)],
    [SimData(0, count=1024, values=0, datatype=DataType.REGISTERS)],
))
READ_INPUT, WRITES = 4, (5, 6, 15, 16)
UNIT_AT = {"rtu": 0, "tcp": 6}
readings = 0


def seen(sending, pdu):
    global readings
    if sending and pdu.function_code == READ_INPUT and len(pdu.registers) >= 2:
        readings += 1
        pdu.registers[:2] = struct.unpack(">HH", struct.pack(">f", 100.0 + 20 * readings))
    if not sending and pdu.function_code in WRITES:
        print(f"write {pdu.function_code} {pdu.dev_id}", flush=True)
    return pdu


def main(kind, place):
    def silent(sending, packet):
        return b"" if sending and packet[UNIT_AT[kind]] != 1 else packet

    more = {"trace_pdu": seen, "trace_packet": silent}
    if kind == "tcp":
        return StartAsyncTcpServer(context=[UNIT], address=("127.0.0.1", int(place)), **more)
    return StartAsyncSerialServer(context=[UNIT], port=place, baudrate=9600, **more)


logging.disable(logging.CRITICAL)     # units that are not there fill the log
asyncio.run(main(*sys.argv[1:]))
