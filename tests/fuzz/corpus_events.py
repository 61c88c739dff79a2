"""The corpus: odd numbers, texts, types and timelines among plain events."""

from __future__ import annotations

_KERNEL = (
    '{"ph":"X","cat":"kernel","name":"k%d","pid":0,"tid":7,"ts":%s,"dur":%s,'
    '"args":{"device":0,"stream":7,"correlation":%d}}'
)
_LAUNCH = (
    '{"ph":"X","cat":"cuda_runtime","name":"cudaLaunchKernel","pid":1,"tid":1,"ts":%s,'
    '"dur":5.000,"args":{"correlation":%d}}'
)


def kernel(
    row: int = 1, correlation: int | None = None, *, ts: str = "", dur: str = "2.000", **change: str
) -> str:
    """Return one kernel; `change` replaces fields of it by JSON text."""
    text = _KERNEL % (
        row,
        ts or f"{100 * row}.250",
        dur,
        row if correlation is None else correlation,
    )
    for field, value in change.items():
        start = text.index(f'"{field}":') + len(field) + 3
        end = text.index("}}", start) + 1 if field == "args" else _end_of_value(text, start)
        text = text[:start] + value + text[end:]
    return text


def _end_of_value(text: str, start: int) -> int:
    return min(at for at in (text.find(",", start), text.find("}", start)) if at >= 0)


def with_arg(field: str, value: str) -> str:
    """Return a kernel with one more arg."""
    return kernel(3)[:-2] + f',"{field}":{value}}}}}'


def launch(ts: str, correlation: int) -> str:
    return _LAUNCH % (ts, correlation)


def op(name: str, ts: str, dur: str, tid: str = "1", args: str = "{}") -> str:
    return (
        f'{{"ph":"X","cat":"cpu_op","name":"{name}","pid":1,"tid":{tid},"ts":{ts},"dur":{dur},'
        f'"args":{args}}}'
    )


def annotation(name: str, ts: str, dur: str) -> str:
    """Return one annotation of the user."""
    return op(name, ts, dur).replace('"cpu_op"', '"user_annotation"')


def listed(*events: str, before: str = "", after: str = "") -> str:
    """Return a trace of these events."""
    return f'{{{before}"schemaVersion":1,"traceEvents":[{",".join(events)}]{after}}}'


def among(*odd: str) -> str:
    """Return a trace of two plain kernels around odd events."""
    return listed(kernel(1), *odd, kernel(9))


def numbers() -> dict[str, str | bytes]:
    """Numbers in `ts`, `dur`, `correlation` and an arg that nobody reads."""
    written = {
        "1e400": "1e400", "minus_0": "-0", "hex": "0x10", "leading_0": "01", "no_decimals": "1.",
        "no_integer": ".5", "1e-7": "1e-7", "1E+2": "1E+2", "20_digits": "12345678901234567890",
        "2_63": "9223372036854775808", "2_63_ns": "9223372036854775.808", "negative": "-5.5",
        "nan": "NaN", "infinity": "Infinity", "minus_inf": "-inf", "null": "null",
        "text": '"12.5"', "text_words": '"soon"', "true": "true", "list": "[1]", "object": "{}",
        "4_decimals": "12.34567", "half_ns": "0.0005", "half_ns_odd": "0.0015", "plus": "+1",
        "underscore": "1_0", "zero": "0", "empty": "", "minus": "-", "5000_digits": "1" * 5000,
        "unix": "1790857026123456.789", "unix_4_decimals": "1790857026123456.78949",
        "146_years": "4611686018427387.904", "104_days": "9007199254740.992",
    }  # fmt: skip
    files: dict[str, str | bytes] = {}
    for name, text in written.items():
        files[f"ts_{name}"] = among(kernel(3, ts=text or " "))
        files[f"dur_{name}"] = among(kernel(3, dur=text or " "))
        files[f"correlation_{name}"] = among(
            launch("1.000", 1), kernel(3)[: kernel(3).rindex(":") + 1] + text + "}}"
        )
        files[f"unread_{name}"] = among(with_arg("est. occupancy %", text))
    return files


def texts() -> dict[str, str | bytes]:
    template = "void at::native::elementwise<" + "std::tuple<float, c10::Half>, " * 65 + ">(int)"
    names = {
        "empty": '""', "null": "null", "number": "12", "list": '["a"]', "object": '{"a":1}',
        "escapes": r'"a\"b\\c\/d\b\f\n\r\t\u00e9"', "surrogate_pair": r'"\ud83d\ude80"',
        "lone_surrogate": r'"\ud800"', "lone_low_surrogate": r'"x\udc00y"',
        "bad_escape": r'"\q"', "short_escape": r'"\u12"', "control": '"a\x01b\x1bc"',
        "raw_newline": '"a\nb"', "nul": '"a\0b"', "escaped_nul": r'"a\u0000b"',
        "escaped_ansi": r'"\u001b[31mred\u0007\u009b"', "template": f'"{template}"',
        "cjk": '"核心カーネル커널"', "emoji": '"🚀🇩🇪👩‍👩‍👧"', "markup": '"[red]a[/bold]["',
        "looks_like_end": '"}}]}"', "looks_like_cut": '"},{"',
        "looks_like_list": r'"\"traceEvents\":[{"',
        "commas": r'"a,b\"c,\r\n"', "formula": '"=1+1"', "separators": r'"a\u2028b\u2029c\u202ed"',
        "pipes": '"tk1|a|b"', "inf_inside": '"std::inf, nan"', "long": '"' + "n" * 30_000 + '"',
    }  # fmt: skip
    files: dict[str, str | bytes] = {
        f"name_{k}": among(kernel(3, name=v)) for k, v in names.items()
    }
    raw = {
        "ff": b"\xff\xfe",
        "cut_sequence": b"\xe6\xa0",
        "overlong": b"\xc0\xaf",
        "cesu": b"\xed\xa0\x80",
    }
    for name, value in raw.items():
        files[f"utf8_{name}"] = among(kernel(3, name='"@@"')).encode().replace(b"@@", value)
        files[f"utf8_unread_{name}"] = among(with_arg("x", '"@@"')).encode().replace(b"@@", value)
        files[f"utf8_grid_{name}"] = among(with_arg("grid", '"@@"')).encode().replace(b"@@", value)
    stage = (
        launch("299.000", 3)
        + ",{"
        + ('"ph":"X","cat":"user_annotation","pid":1,"tid":1,"ts":1.000,"dur":900.000,"name":')
    )
    for name in ("escaped_ansi", "markup", "pipes", "empty", "commas", "long"):
        files[f"stage_{name}"] = among(stage + names[name] + "}", kernel(3))
    return files


def shapes() -> dict[str, str | bytes]:
    """Events whose fields are of other types than a writer would give them."""
    args = {"list": "[1,2]", "null": "null", "number": "5", "text": '"x"', "empty": "{}",
            "true": "true", "nested": '{"device":{"a":1},"stream":[7],"correlation":{}}',
            "texts": '{"device":"0","stream":"7","correlation":"3"}',
            "floats": '{"device":0.0,"stream":7.5,"correlation":3e0}',
            "twice": '{"device":1,"stream":7,"device":0,"correlation":3}',
            "objects": '{"device":0,"stream":7,"x":[{"a":1},{"b":[{"c":1},{"ph":"X"}]}]}',
            "deep_200": f'{{"device":0,"stream":7,"x":{"[" * 200}{"]" * 200}}}',
            "deep_2000": f'{{"device":0,"stream":7,"x":{"[" * 2000}{"]" * 2000}}}',
            "deep_objects": f'{{"device":0,"stream":7,"x":{chr(123)}"a":'
            f'{chr(91) + "{" + chr(125) + chr(93)}}}}}'}  # fmt: skip
    files: dict[str, str | bytes] = {f"args_{k}": among(kernel(3, args=v)) for k, v in args.items()}
    values = {"text": '"Spans"', "object": '{"a":1}', "float": "1.5", "null": "null",
              "list": "[1]", "true": "true", "huge": "1" * 40, "1e400": "1e400"}  # fmt: skip
    for key in ("pid", "tid", "cat", "ph"):
        for name, value in values.items():
            files[f"{key}_{name}"] = among(
                op("aten::x", "5.000", "1.000"), kernel(3, None, **{key: value})
            )
    files["cat_missing"] = among(kernel(3).replace('"cat":"kernel",', ""))
    files["cat_unknown"] = among(kernel(3, cat='"my_category"'))
    files["cat_unknown_long"] = among(kernel(3, cat='"' + "c" * 5000 + '"'))
    files["cat_control"] = among(kernel(3, cat=r'"a\u001b[31m\n"'))
    files["cat_named_like_a_table"] = listed(kernel(3, cat='"ops"'))
    files["ph_unknown"] = among(kernel(3, ph='"Z"'))
    files["ph_empty"] = among(kernel(3, ph='""'))
    files["ph_missing"] = among(kernel(3).replace('"ph":"X",', ""))
    files["ph_question"] = among(kernel(3, ph='"?"'))
    files["begin_end"] = among(
        '{"ph":"B","name":"b","pid":1,"tid":1,"ts":1.0}', '{"ph":"E","pid":1,"tid":1,"ts":2.0}'
    )
    files["keys_twice"] = among(kernel(3)[:-1] + ',"name":"second","ts":305.000,"dur":9.000}')
    for key in ("grid", "block", "bytes", "graph node id"):
        for name, value in {"1e400": "[1e400]", "digits": "1" * 5000, "surrogate": r'"\ud800"',
                            "null": "null", "object": '{"a":[1.50]}'}.items():  # fmt: skip
            files[f"{key.replace(' ', '_')}_{name}"] = among(with_arg(key, value))
    files["op_with_stream"] = among(
        op("triton_x", "5.000", "1.000", args='{"stream":7,"device":0}')
    )
    files["op_dims_odd"] = among(
        op("a", "5.000", "1.000", args='{"Input Dims":[[1e400]],"Input type":"\\ud800"}')
    )
    return files


def timelines() -> dict[str, str | bytes]:
    """Intervals and links that no single-threaded eager run writes."""
    graph = [launch("10.000", 5).replace("cudaLaunchKernel", "cudaGraphLaunch")]
    graph += [kernel(i, correlation=5) for i in range(1, 6)]
    big = 2**64 - 1
    threads = [op(f"t{i % 7}", f"{i}.000", "0.500", tid=str(i)) for i in range(380)]
    far = [kernel(1, ts="-4611686018427387.904"), kernel(2, ts="4611686018427387.904")]
    devices = [
        kernel(i, ts=ts).replace('"device":0', f'"device":{i}')
        for i in range(3)
        for ts in ("-2300000000000000.000", "2300000000000000.000")
    ]
    return {
        "ops_crossing": among(op("a", "1.000", "10.000"), op("b", "5.000", "10.000"),
                              op("c", "11.000", "4.000"), launch("12.000", 1)),
        "ops_equal": among(*[op(f"o{i}", "5.000", "10.000") for i in range(9)], launch("6.000", 1)),
        "ops_zero": among(*[op(f"o{i}", "5.000", "0") for i in range(9)], launch("5.000", 1)),
        "ops_backward": among(
            op("aten::mm", "1.000", "5.000", args='{"Sequence number":3,"Fwd thread id":0}'),
            op("MmBackward0", "20.000", "5.000", "2", '{"Sequence number":3,"Fwd thread id":1}'),
            launch("21.000", 1).replace('"tid":1', '"tid":2'),
        ),
        "kernels_crossing": listed(*[kernel(i, ts=f"{i}.000", dur="5.000") for i in range(20)]),
        "kernels_equal": listed(*[kernel(i, ts="5.000") for i in range(20)]),
        "kernels_zero": listed(*[kernel(i, ts="5.000", dur="0") for i in range(20)]),
        "kernels_unordered": listed(*[kernel(i) for i in (5, 3, 9, 1, 7)]),
        "kernels_without_launch": listed(kernel(1), kernel(2)),
        "launch_after_kernel": listed(kernel(1), launch("500.000", 1)),
        "launch_without_kernel": listed(launch("1.000", 1)),
        "correlation_shared": listed(launch("1.000", 1), launch("2.000", 1), kernel(1),
                                     kernel(2, correlation=1)),
        "correlation_wrapped": listed(launch("1.000", big), kernel(1, correlation=big),
                                      kernel(2, correlation=2**63 - 1)),
        "graph_launch": listed(*graph),
        "threads": listed(*threads),
        "span_beyond_int64": listed(*far),
        "spans_beyond_int64_together": listed(*devices),
        "left_out_beyond_int64": among(*[kernel(3, cat='"u"', dur="9223372036854775")] * 3),
        "left_out_negative": among(*[kernel(3, cat='"u"', dur="-5.000")] * 3),
        "durations_beyond_int64": listed(*[kernel(1, dur="9007199254740.000")] * 300),
        "rank_beyond_int64": listed(
            kernel(1), before='"distributedInfo":{"rank":9223372036854775808},'
        ),
        "world_beyond_uint64": listed(
            kernel(1), before=f'"distributedInfo":{{"rank":0,"world_size":1{"0" * 30}}},'
        ),
        "device_id_list": listed(kernel(1), before='"deviceProperties":[{"id":[0],"name":"x"}],'),
        "steps": listed(
            *[annotation(f"step {i}", f"{100 * i}.000", "90.000") for i in range(4)],
            *[launch(f"{100 * i}.500", i) for i in range(4)], *[kernel(i) for i in range(4)],
        ),
        "stage_many_separators": among(
            annotation(f"a{'_' * 20_000}x", "0", "900"), launch("2.000", 1),
        ),
    }  # fmt: skip
