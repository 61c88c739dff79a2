"""The corpus: files cut short, compressed, encoded or surrounded in odd ways, and look-alikes.

No compressor is used, since zlib's versions differ in their output: gzip members hold stored
blocks.
"""

from __future__ import annotations

import json
import struct
import zlib

from fuzz.corpus_events import among, kernel, launch, listed, numbers, shapes, texts, timelines

PLAIN = listed(launch("90.000", 1), kernel(1), launch("190.000", 2), kernel(2), after=',"z":"end"')


def gzip_stored(data: bytes) -> bytes:
    """Return one gzip member whose deflate blocks are stored (RFC 1951, section 3.2.4)."""
    blocks = b""
    for at in range(0, len(data), 60_000):
        part = data[at : at + 60_000]
        last = at + len(part) == len(data)
        blocks += struct.pack("<BHH", last, len(part), len(part) ^ 0xFFFF) + part
    ends = struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + blocks + ends


def truncations() -> dict[str, str | bytes]:
    """A file cut at places where a parser is in each of its states."""
    second = PLAIN.index('"k2"')
    cuts = {
        "in_name": second + 2,
        "after_key": PLAIN.index('"ts"', second) + 4,
        "after_colon": PLAIN.index('"ts"', second) + 5,
        "in_number": PLAIN.index("200.250") + 5,
        "after_point": PLAIN.index("200.250") + 4,
        "in_args": PLAIN.index('"stream"', second),
        "after_args": PLAIN.index("}}", second) + 1,
        "after_event": PLAIN.index("}}", second) + 2,
        "before_comma": PLAIN.index("}},", PLAIN.index('"k1"')) + 2,
        "after_comma": PLAIN.index("}},", PLAIN.index('"k1"')) + 3,
        "after_bracket": PLAIN.index("[") + 1,
        "before_bracket": PLAIN.index("["),
        "in_events_key": PLAIN.index("traceEv") + 4,
        "after_list": PLAIN.index("]") + 1,
        "in_trailer_key": PLAIN.index('"z"') + 1,
        "in_trailer_text": PLAIN.index('"end"') + 2,
        "before_last_brace": len(PLAIN) - 1,
        "first_byte": 1,
    }
    files: dict[str, str | bytes] = {f"cut_{name}": PLAIN[:at] for name, at in cuts.items()}
    escape = among(kernel(2, name=r'"\u1234"'))
    files["cut_in_escape"] = escape[: escape.index("\\u12") + 4]
    files["cut_after_backslash"] = escape[: escape.index("\\u12") + 1]
    wide = among(kernel(2, name='"核核"')).encode()
    files["cut_in_utf8"] = wide[: wide.index("核".encode()) + 4]
    return files


def compressed() -> dict[str, str | bytes]:
    data = PLAIN.encode()
    whole = gzip_stored(data)
    corrupt = bytearray(whole)
    corrupt[-8] ^= 0xFF
    flipped = bytearray(whole)
    flipped[10] |= 6
    return {
        "gzip_whole": whole,
        "gzip_cut_in_data": whole[: len(whole) // 2],
        "gzip_cut_in_crc": whole[:-6],
        "gzip_cut_before_crc": whole[:-8],
        "gzip_cut_in_header": whole[:7],
        "gzip_bad_crc": bytes(corrupt),
        "gzip_bad_length": whole[:-4] + b"\1\0\0\0",
        "gzip_bad_block": bytes(flipped),
        "gzip_garbage_after": whole + b"garbage",
        "gzip_zeros_after": whole + b"\0" * 512,
        "gzip_members": gzip_stored(data[:300])
        + gzip_stored(data[300:301])
        + gzip_stored(data[301:]),
        "gzip_empty_member_first": gzip_stored(b" ") + whole,
        "gzip_second_member_cut": gzip_stored(data[:400]) + gzip_stored(data[400:])[:60],
        "gzip_in_gzip": gzip_stored(whole),
        "gzip_of_nothing": gzip_stored(b" ")[:10] + struct.pack("<BHH", 1, 0, 0xFFFF) + b"\0" * 8,
        "gzip_text_not_json": gzip_stored(b"hello world"),
    }


def forms() -> dict[str, str | bytes]:
    """Encodings, white space, and what surrounds the list."""
    events = json.loads(PLAIN)["traceEvents"]
    return {
        "plain": PLAIN,
        "bom": b"\xef\xbb\xbf" + PLAIN.encode(),
        "crlf": json.dumps(json.loads(PLAIN), indent=2).replace("\n", "\r\n"),
        "tabs": json.dumps(json.loads(PLAIN), indent="\t"),
        "huge_indentation": json.dumps(events, indent=180),
        "spaces_first": " " * 5000 + PLAIN,
        "newlines_last": PLAIN + "\n" * 5000,
        "nul_last": PLAIN + "\0" * 100,
        "bare_array": json.dumps(events),
        "bare_array_open": json.dumps(events)[:-1],
        "bare_array_open_comma": json.dumps(events)[:-1] + ",\n",
        "bare_empty": "[]",
        "bare_open_only": "[",
        "trailing_comma": PLAIN.replace("}}]", "}},]"),
        "trailing_comma_in_object": PLAIN.replace('"end"}', '"end",}'),
        "two_commas": PLAIN.replace("}},{", "}},,{", 1),
        "missing_comma": PLAIN.replace("}},{", "}}{", 1),
        "comment_line": PLAIN.replace("}},{", "}},// here\n{", 1),
        "comment_block": PLAIN.replace("}},{", "}},/* here */{", 1),
        "single_quotes": PLAIN.replace('"', "'"),
        "text_after": PLAIN + " trailing words",
        "two_documents": PLAIN + PLAIN,
        "json_lines": "\n".join(json.dumps(e) for e in events),
        "utf16": PLAIN.encode("utf-16"),
        "utf16_bare": PLAIN.encode("utf-16-le"),
        "utf32": PLAIN.encode("utf-32"),
        "latin1": listed(kernel(1, name='"\xe9"')).encode("latin-1"),
        "empty_list": '{"traceEvents": []}',
        "empty_list_spaces": '{"traceEvents" : \n[ \n ] , "a": [1]}',
        "list_of_empty_objects": '{"traceEvents": [{}, {}, {}]}',
        "list_of_numbers": '{"traceEvents": [1, 2.5, -3]}',
        "list_of_lists": '{"traceEvents": [[1], [2]]}',
        "list_of_mixed": among("1", "null", '"x"', "[]", "{}", "true"),
        "events_object": '{"traceEvents": {"a": 1}}',
        "events_null": '{"traceEvents": null}',
        "events_text": '{"traceEvents": "[{}]"}',
        "events_twice": f'{{"traceEvents":[{kernel(1)}],"traceEvents":[{kernel(2)},{kernel(3)}]}}',
        "events_twice_empty_first": f'{{"traceEvents":[],"traceEvents":[{kernel(2)}]}}',
        "events_in_metadata_text": listed(kernel(1), before='"note":"\\"traceEvents\\": [{",'),
        "events_in_metadata_object": listed(kernel(1), before='"a":{"traceEvents":[{"x":1}]},'),
        "events_key_escaped": PLAIN.replace('"traceEvents"', '"trace\\u0045vents"'),
        "metadata_after": listed(kernel(1), after=',"deviceProperties":[{"id":0,"name":"After"}]'),
        "metadata_lone_surrogate": listed(kernel(1), before='"a":"\\ud800",'),
        "metadata_bad_utf8": listed(kernel(1), before='"a":"@",').encode().replace(b"@", b"\xff"),
        "metadata_nan": listed(kernel(1), before='"a":NaN,'),
        "metadata_1e400": listed(kernel(1), before='"a":1e400,'),
        "metadata_deep": listed(kernel(1), before=f'"a":{"[" * 200}{"]" * 200},'),
        "metadata_after_nan": listed(kernel(1), after=',"a":NaN'),
        "metadata_loose": listed(
            kernel(1),
            before='"deviceProperties":["x",{"id":"0","name":5},{"id":0,"name":"GPU"}],'
            '"distributedInfo":{"rank":"0","world_size":null},"torch_version":2.5,',
        ),
    }  # fmt: skip


def look_alikes() -> dict[str, str | bytes]:
    """First bytes of other formats."""
    jax = '{"ph":"M","pid":1,"name":"process_name","args":{"name":"/device:GPU:0"}}'
    return {
        "like_jax": listed(
            jax, '{"ph":"X","pid":1,"tid":1,"ts":1,"dur":1,"name":"f","args":{"hlo_op":"f"}}'),
        "like_xpu": among('{"ph":"X","cat":"xpu_runtime","ts":1,"dur":1,"name":"l"}'),
        "like_sqlite": b"SQLite format 3\0" + b"\0" * 84,
        "like_tensorboard": b'\x18\0\0\0\0\0\0\0\xa3\x7fK"\t\0\0\xc0'
        b'\xb7\x0f\xd9A\x1a\rbrain.Event:2',
        "like_zip": b"PK\x03\x04\x14\0\0\0\x08\0", "like_elf": b"\x7fELF\x02\x01\x01" + b"\0" * 57,
        "like_png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "like_parquet": b"PAR1\x15\x04\x15",
        "like_pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94",
        "like_zstd": b"\x28\xb5\x2f\xfd\x04\x58",
        "like_bzip2": b"BZh91AY&SY", "like_xz": b"\xfd7zXZ\0\0\x04",
        "like_html": "<html><body>404</body></html>",
        "like_lfs": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "like_chakra": '{"schema": "1.1.1-chakra.0.0.4", "nodes": []}',
        "like_csv": "name,dur\nk,1\n",
        "like_perfetto": b"\x0a\x12\x08\x80\x01\x50\x01\x0a\x00", "zero": b"",
        "only_spaces": "   \n",
        "json_null": "null", "json_number": "12", "json_text": '"traceEvents"', "json_object": "{}",
        "nul_bytes": b"\0" * 4096, "ff_bytes": b"\xff" * 4096, "brackets": "[" * 20_000,
        "braces": '{"a":' * 5000,
    }  # fmt: skip


def files() -> dict[str, bytes]:
    """Return the name and bytes of every file of the corpus."""
    parts = (truncations(), compressed(), forms(), numbers(), texts(), shapes(), timelines(),
             look_alikes())  # fmt: skip
    made: dict[str, bytes] = {}
    for part in parts:
        for name, content in part.items():
            data = content.encode() if isinstance(content, str) else content
            ending = ".json.gz" if data[:2] == b"\x1f\x8b" else ".json"
            assert name + ending not in made, name
            made[name + ending] = data
    return made
