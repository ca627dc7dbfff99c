"""The refusal, and the reader that names the field it stumbled over."""

import struct


class Refused(Exception):
    """An artifact was refused: which part, which field, where in the file, and one reason word."""

    def __init__(self, part, field, offset, reason, detail=""):
        self.part, self.field, self.offset, self.reason, self.detail = part, field, offset, reason, detail
        super().__init__(str(self))

    def __str__(self):
        where = "" if self.offset is None else f" at offset {self.offset}"
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.part}: {self.field}{where}: {self.reason}{detail}"


class Reader:
    """A bounded cursor over one part of a file. `base` is where the part starts in the file."""

    def __init__(self, data, part, base=0):
        self.data, self.part, self.base = bytes(data), part, base
        self.pos = self.last = 0

    @property
    def left(self):
        return len(self.data) - self.pos

    def fail(self, field, reason, detail="", at=None):
        offset = self.base + (self.last if at is None else at)
        raise Refused(self.part, field, offset, reason, detail)

    def require(self, condition, field, reason, detail="", at=None):
        if not condition:
            self.fail(field, reason, detail, at)

    def take(self, count, field):
        self.last = self.pos
        if count > self.left:
            self.fail(field, "truncated", f"{count} bytes wanted, {self.left} left")
        self.pos += count
        return self.data[self.last : self.pos]

    def number(self, code, field):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code), field))[0]

    def u8(self, field):
        return self.number("B", field)

    def u16(self, field):
        return self.number("H", field)

    def i16(self, field):
        return self.number("h", field)

    def u32(self, field):
        return self.number("I", field)

    def u64(self, field):
        return self.number("Q", field)

    def zeros(self, count, field="reserved"):
        self.require(not any(self.take(count, field)), field, "reserved", "must be zero")

    def magic(self, text, field="magic"):
        self.require(self.take(4, field) == text, field, "magic", f"{text.decode()} expected")

    def constant(self, code, value, field, reason):
        seen = self.number(code, field)
        self.require(seen == value, field, reason, f"{value} expected, {seen} found")

    def within(self, code, low, high, field, reason="out-of-range"):
        seen = self.number(code, field)
        self.require(low <= seen <= high, field, reason, f"{low}..{high} expected, {seen} found")
        return seen

    def end(self, field="end"):
        self.require(not self.left, field, "trailing-bytes", f"{self.left} bytes too many", at=self.pos)


def u16(value):
    return struct.pack("<H", value)


def u32(value):
    return struct.pack("<I", value)


def u64(value):
    return struct.pack("<Q", value)


def padding(length):
    """Zero bytes that bring `length` to a multiple of four."""
    return bytes(-length % 4)
