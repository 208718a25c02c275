"""Compares an archive with the directories that it was made of: check.py zip|tar ARCHIVE DIR...

Names, kinds, modes, times, links and contents have to be the same; what could not be read is named on
stdout, as the archive tells it.
"""

import io
import os
import stat
import struct
import sys
import tarfile
import zipfile


def expected(tops):
    entries = {}

    def add(path, name):
        known = os.lstat(path)
        kind = stat.S_IFMT(known.st_mode)
        content = None
        if kind == stat.S_IFLNK:
            content = os.readlink(path)
        elif kind == stat.S_IFREG:
            with open(path, "rb") as file:
                content = file.read()
        elif kind != stat.S_IFDIR:
            return
        mode = stat.S_IMODE(known.st_mode) & 0o777
        entries[name] = (kind, mode, known.st_mtime_ns, content)
        if kind == stat.S_IFDIR:
            for inner in os.listdir(path):
                add(os.path.join(path, inner), name + b"/" + inner)

    for top in tops:
        add(top, os.path.basename(top))
    return entries


def of_zip(path):
    entries = {}
    with zipfile.ZipFile(path) as archive:
        bad = archive.testzip()
        assert bad is None, bad
        names = []
        for info in archive.infolist():
            is_text = info.flag_bits & 0x800
            # The way back from what Python takes names for.
            raw = info.orig_filename.encode("utf-8" if is_text else "cp437")
            try:
                raw.decode("utf-8")
                assert is_text, raw
            except UnicodeDecodeError:
                assert not is_text, raw
            assert info.create_system == 3, info
            mode = info.external_attr >> 16
            kind = stat.S_IFMT(mode)
            assert raw.endswith(b"/") == (kind == stat.S_IFDIR), raw
            content = None if kind == stat.S_IFDIR else archive.read(info)
            extra, secs = info.extra, None
            while extra:
                tag, length = struct.unpack("<HH", extra[:4])
                if tag == 0x5455:
                    secs = struct.unpack("<i", extra[5:9])[0]
                extra = extra[4 + length :]
            names.append(raw)
            entries[raw.rstrip(b"/")] = (kind, stat.S_IMODE(mode), secs, content)
        assert len(names) == len(entries), "a name is there twice"
    return entries


def of_tar(path):
    kinds = {
        tarfile.DIRTYPE: stat.S_IFDIR,
        tarfile.SYMTYPE: stat.S_IFLNK,
        tarfile.REGTYPE: stat.S_IFREG,
    }
    entries = {}
    with tarfile.open(path, "r|", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = member.name.encode("utf-8", "surrogateescape")
            kind = kinds[member.type]
            content = None
            if kind == stat.S_IFREG:
                content = archive.extractfile(member).read()
            elif kind == stat.S_IFLNK:
                content = member.linkname.encode("utf-8", "surrogateescape")
            entries[name] = (kind, member.mode, member.mtime, content)
    with open(path, "rb") as file:
        file.seek(-1024, io.SEEK_END)
        assert file.read() == bytes(1024), "no end"
    return entries


def main():
    form, path, *tops = (os.fsencode(argument) for argument in sys.argv[1:])
    wanted = expected(tops)
    found = of_zip(os.fsdecode(path)) if form == b"zip" else of_tar(os.fsdecode(path))
    errors = found.pop(b"tow-errors.txt", None)
    if errors is not None:
        sys.stdout.write(errors[3].decode("ascii"))
    told = errors[3].count(b"\n") if errors else 0
    assert found.keys() <= wanted.keys(), found.keys() - wanted.keys()
    assert len(wanted) - len(found) <= told, wanted.keys() - found.keys()
    for name, (kind, mode, mtime, content) in found.items():
        other_kind, other_mode, nanos, other_content = wanted[name]
        assert kind == other_kind and content == other_content, name
        assert mode == other_mode or kind == stat.S_IFLNK, (name, oct(mode), oct(other_mode))
        if form == b"zip":
            fits = -(2**31) <= nanos // 10**9 < 2**31
            assert mtime == (nanos // 10**9 if fits else None), (name, mtime, nanos)
        else:
            assert abs(mtime - nanos / 10**9) < 1e-6 * max(1, abs(mtime) / 1e8), (name, mtime, nanos)


main()
