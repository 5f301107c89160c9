"""The container: a JSON text and arrays, uncompressed, in one ``.npz`` file of NumPy.

Nothing that a file says is believed. Members are stored as they are, so that none can become larger
than the file itself; their names and sizes are compared with the JSON text before any memory is
taken for an array; and nothing in a file is code.
"""

import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from .errors import FileError
from .keys import Kinds, check_keys
from .whole import whole_file

FORMAT = "fastmlp network"
VERSION = 1
HEAD = "fastmlp.json"
#: Most characters of the JSON text: enough for the names of a hundred thousand features. Objects
#: that Python makes of it may take twenty times as much.
MOST_TEXT = 2**22
#: Most bytes of the archive's directory, of which the same is true.
MOST_DIRECTORY = 2**20
#: dtypes of arrays, as NumPy's files name them.
DTYPES = ("<f4", "<f8", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8")
#: What the text says of each array.
_ENTRY: dict[str, Kinds] = {"dtype": (str,), "shape": (list,), "crc32": (int,)}
_STEP = 2**20
#: Sizes of the records at the end of an archive.
_ZIP64, _LOCATOR, _END = 56, 20, 22
#: What zipfile and json raise for a file that is none of theirs, or no longer.
_DAMAGE = (
    zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, EOFError, OSError, RuntimeError,
    ValueError, TypeError, KeyError, IndexError, OverflowError,
)  # fmt: skip


def write(
    path: str | os.PathLike[str], head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a file, whole or not at all; the same content gives the same bytes.

    Parameters
    ----------
    path : str or Path
        The file; one that exists is replaced.
    head : dict
        What JSON can say: its keys besides "format", "version" and "arrays".
    arrays : dict of ndarray
        Arrays by name, of at most two dimensions, with one of `DTYPES`.

    Raises
    ------
    FileError
        If `head` is too large.
    """
    arrays = {name: _little(array) for name, array in arrays.items()}
    table = {
        name: {"dtype": a.dtype.str, "shape": list(a.shape), "crc32": _checksum(a)}
        for name, a in arrays.items()
    }
    whole = {"format": FORMAT, "version": VERSION, **head, "arrays": table}
    text = json.dumps(whole, indent=1, allow_nan=False)
    if len(text) > MOST_TEXT:
        raise FileError(
            f"Parameters, labels and names take {len(text)} characters, more than the {MOST_TEXT} "
            "that a file can have. Give large parameters as NumPy arrays."
        )
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(HEAD), text)
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            with archive.open(member, "w", force_zip64=array.nbytes >= 2**31) as out:
                out.write(_header(array))
                out.write(_bytes(array))


def _little(array):
    """Return the array with rows in order and little-endian numbers."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _header(array):
    """Return the beginning of a .npy file with this array."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, npy.header_data_from_array_1_0(array))
    return header.getvalue()


def _bytes(array: Any) -> memoryview:
    return memoryview(array).cast("B") if array.size else memoryview(b"")


def _checksum(array):
    """Return what the ZIP archive also has, by which the text knows which array is whose."""
    return zlib.crc32(_bytes(array), zlib.crc32(_header(array)))


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    head : dict
        The JSON text.
    arrays : dict of ndarray
        The arrays that it names, with exactly these dtypes and shapes.

    Raises
    ------
    FileError
        If the file is not of this format, is of a newer one, is damaged, or claims sizes that it
        does not have.
    OSError
        If it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            return _content(file)
        except FileError as error:
            raise FileError(f"{os.fspath(path)}: {error}") from None
        except _DAMAGE as error:
            raise FileError(
                f"{os.fspath(path)} is damaged, or is not a file that save() has written."
            ) from error


def _content(file):
    """Return head and arrays of an open file."""
    _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        members = _members(archive, file.seek(0, os.SEEK_END))
        if HEAD not in members:
            raise FileError(f"it has no member {HEAD}: it is not a file that save() has written.")
        head = _head(archive, members.pop(HEAD))
        table = head.get("arrays")
        if not isinstance(table, dict) or {f"{name}.npy" for name in table} != set(members):
            raise FileError("its arrays are not those that it names.")
        for name, entry in table.items():
            check_keys({name: entry}, {name: (_ENTRY,)}, "its arrays")
        arrays = {
            name: _array(archive, members[f"{name}.npy"], entry) for name, entry in table.items()
        }
    return head, arrays


def _check_directory(file):
    """Check the size of the archive's directory, all of which zipfile reads at once.

    At the end are a record with its size, and before that, in archives of many gigabytes, a larger
    one (APPNOTE of PKWARE, sections 4.3.14 to 4.3.16).
    """
    end = _ZIP64 + _LOCATOR + _END
    file.seek(max(0, file.seek(0, os.SEEK_END) - end))
    tail = file.read(end).rjust(end, b" ")
    record, locator = tail[-_END:], tail[_ZIP64:-_END]
    if not record.startswith(b"PK\5\6") or record[20:] != bytes(2):
        raise FileError("it does not end as an archive: it is cut, or something else.")
    (size,) = struct.unpack("<L", record[12:16])
    if locator.startswith(b"PK\6\7"):
        (size,) = struct.unpack("<Q", tail[40:48])
    if size > MOST_DIRECTORY:
        raise FileError(f"its directory has {size} bytes, more than {MOST_DIRECTORY}.")


def _members(archive, size):
    """Return the members by name: each once, stored as it is, and none larger than the file."""
    members = {member.filename: member for member in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise FileError("two of its members have one name.")
    for name, member in members.items():
        if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise FileError(f"its member {name!r} is compressed or encrypted.")
    if sum(member.file_size for member in members.values()) > size:
        raise FileError("its members are larger than the file.")
    return members


def _head(archive, member):
    if member.file_size > MOST_TEXT:
        raise FileError(f"{HEAD} is larger than {MOST_TEXT} bytes.")
    head = json.loads(
        archive.read(member), parse_constant=_refused, parse_float=_finite, parse_int=_small
    )
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise FileError(f"{HEAD} is not that of a {FORMAT}.")
    version = head.get("version")
    if type(version) is not int or version < 1:
        raise FileError(f"its format has no version, but {version!r}.")
    if version > VERSION:
        raise FileError(
            f"it is of format {version}, which a newer fastmlp has written; this one reads formats "
            f"up to {VERSION}. Update fastmlp."
        )
    return head


def _refused(text):
    raise FileError(f"{HEAD} has {text}, which is not JSON.")


def _finite(text):
    number = float(text)
    return number if math.isfinite(number) else _refused(text)


def _small(text):
    """Return an integer of 64 bits: larger ones are slow to read, and nothing here needs them."""
    number = int(text) if len(text) <= 20 else 2**64
    return number if -(2**63) <= number < 2**64 else _refused(text[:30])


def _array(archive, member, entry):
    """Return an array, after its size in the file has been found to be that in the table."""
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    counts = all(type(count) is int and count >= 0 for count in shape)
    if dtype not in DTYPES or len(shape) > 2 or not counts:
        raise FileError(f"{member.filename} cannot be an array of shape {shape} and {dtype!r}.")
    size = np.dtype(dtype).itemsize * math.prod(shape)
    if entry["crc32"] != member.CRC:
        raise FileError(f"{member.filename} is not the array that it was.")
    with archive.open(member) as source:
        if member.file_size != _after_header(source, dtype, shape) + size:
            raise FileError(f"{member.filename} does not have the size of shape {shape}.")
        array = np.empty(shape, dtype)
        _fill(_bytes(array), source)
        source.read(1)  # its end, where zipfile compares the checksum
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _after_header(source: BinaryIO, dtype: str, shape: tuple[int, ...]) -> int:
    """Read the header of a .npy file, which must be that of this dtype and shape; return its size.

    NumPy's reader evaluates it as a literal of Python: here it is compared with the only text that
    it may be.
    """
    start = source.read(10)
    if start[:8] != b"\x93NUMPY\x01\x00" or len(start) < 10:
        raise FileError(f"{source.name} is not an array of format 1.0.")
    (length,) = struct.unpack("<H", start[8:])
    expected = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    header = source.read(length)
    if header.rstrip() != expected.encode() or len(header) < length:
        raise FileError(f"{source.name} is not an array of shape {shape} and {dtype!r}.")
    return 10 + length


def _fill(buffer: memoryview, source: BinaryIO) -> None:
    for start in range(0, len(buffer), _STEP):
        part = buffer[start : start + _STEP]
        data = source.read(len(part))
        if len(data) != len(part):
            raise EOFError(f"{source.name} ends early")
        part[:] = data
