"""checksums: CRC32C and SipHash-2-4, from their definitions, for queue_reader."""

import functools
import struct

# --- CRC32C ------------------------------------------------------------------------

POLY = 0x82F63B78  # Castagnoli, bits reversed: bit 31 is the coefficient of x^0


def _table():
    out = []
    for c in range(256):
        for _ in range(8):
            c = c >> 1 ^ (POLY if c & 1 else 0)
        out.append(c)
    return out


TABLE = _table()


def _multiply(a, b):
    """The product of two polynomials modulo the CRC's, both with bits reversed."""
    out = 0
    while b:
        if b & 0x80000000:
            out ^= a
        b = b << 1 & 0xFFFFFFFF
        a = a >> 1 ^ (POLY if a & 1 else 0)
    return out


@functools.lru_cache(maxsize=None)
def _power(j):
    """x^(8 * 2^j) modulo the polynomial."""
    return _multiply(_power(j - 1), _power(j - 1)) if j else 0x00800000


@functools.lru_cache(maxsize=None)
def _terms(j):
    """The exponents in x^(8 * (2^j + 4)) modulo the polynomial; x^32 is its lower part."""
    product = _multiply(_power(j), POLY)
    return [k for k in range(32) if product >> 31 - k & 1]


def crc32c(data, crc=0):
    """The checksum of data, begun with crc.

    Byte by byte only at the end: before, what is long is folded. Its front,
    taken as a polynomial, times x^n modulo the CRC's polynomial has the same
    remainder where it stands n bits later; Python's long integers do that
    for all bits at once.
    """
    size = len(data)
    if size > 64:
        number = int.from_bytes(data, "little") ^ (crc ^ 0xFFFFFFFF)
        while size > 64:
            j = ((size - 5) // 2).bit_length()  # 2^j + 4 bytes stay: 4 more than the front has, or more
            front = size - (1 << j) - 4
            head = number & (1 << 8 * front) - 1
            number >>= 8 * front
            for k in _terms(j):
                number ^= head << 8 * (size - 2 * front) - k
            size -= front
        data, state = number.to_bytes(size, "little"), 0
    else:
        state = crc ^ 0xFFFFFFFF
    for byte in data:
        state = state >> 8 ^ TABLE[(state ^ byte) & 255]
    return state ^ 0xFFFFFFFF


# --- SipHash-2-4 with a key of zeros ----------------------------------------------------

M64 = (1 << 64) - 1


def _rotate(v, n):
    return (v << n | v >> 64 - n) & M64


def _sip_round(v):
    a, b, c, d = v
    a = a + b & M64
    b = _rotate(b, 13) ^ a
    a = _rotate(a, 32)
    c = c + d & M64
    d = _rotate(d, 16) ^ c
    a = a + d & M64
    d = _rotate(d, 21) ^ a
    c = c + b & M64
    b = _rotate(b, 17) ^ c
    c = _rotate(c, 32)
    return a, b, c, d


def siphash(data):
    v = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    padded = data + bytes(-(len(data) + 1) % 8) + bytes([len(data) & 255])
    for (word,) in struct.iter_unpack("<Q", padded):
        v = (v[0], v[1], v[2], v[3] ^ word)
        v = _sip_round(_sip_round(v))
        v = (v[0] ^ word, v[1], v[2], v[3])
    v = (v[0], v[1], v[2] ^ 0xFF, v[3])
    for _ in range(4):
        v = _sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]
