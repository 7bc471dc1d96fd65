import json
import logging
import os

from vip_speaker.router.logs import JsonFormatter, PlainFormatter, UnblockingHandler


def record(message="BACKUP → MASTER", vip="web", **extra):
    made = logging.LogRecord("vip", logging.INFO, __file__, 1, message, (), None)
    made.vip = vip
    return made


def test_a_plain_line_names_the_vip():
    line = PlainFormatter().format(record())
    assert line.endswith("INFO web: BACKUP → MASTER")


def test_a_json_line_is_one_object():
    entry = json.loads(JsonFormatter().format(record()))
    assert entry["vip"] == "web"
    assert entry["level"] == "info"
    assert entry["message"] == "BACKUP → MASTER"


def test_a_reader_that_stops_reading_stops_nothing_and_learns_how_much_it_missed():
    reading, writing = os.pipe()
    handler = UnblockingHandler(writing)
    handler.setFormatter(PlainFormatter())
    for number in range(5000):
        handler.handle(record(f"line {number} " + "x" * 100))
    assert len(os.read(reading, 1 << 20)) < 5000 * 100
    handler.handle(record("after"))
    last = os.read(reading, 1 << 20).decode()
    assert "after" in last
    assert "lines before this one were not taken" in last
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_raises_nothing():
    reading, writing = os.pipe()
    os.close(reading)
    handler = UnblockingHandler(writing)
    handler.setFormatter(PlainFormatter())
    handler.handle(record())
    os.close(writing)


def test_a_very_long_line_is_cut():
    reading, writing = os.pipe()
    handler = UnblockingHandler(writing)
    handler.setFormatter(PlainFormatter())
    handler.handle(record("x" * 100_000))
    assert len(os.read(reading, 1 << 20)) == 4096
    os.close(reading)
    os.close(writing)
