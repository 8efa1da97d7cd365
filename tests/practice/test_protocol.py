"""What the processes of a check tell each other arrives whole, in whatever pieces it comes."""

from deskbook.practice.checking.protocol import LineReader, line_of

NEWS = [{"kind": "running", "what": "answer"}, {"kind": "passed", "test": "test_ä\n"}, {"kind": "finished"}]


def test_pieces_of_any_size_give_the_same_messages():
    written = b"".join(map(line_of, NEWS))
    for size in range(1, len(written) + 1):
        reader = LineReader()
        pieces = [written[start : start + size] for start in range(0, len(written), size)]
        assert [message for piece in pieces for message in reader.feed(piece)] == NEWS


def test_what_is_no_message_is_left_out():
    reader = LineReader()
    assert reader.feed(b"printed by the answer\n\n[1]\n\xff\n" + line_of(NEWS[2]) + b'{"kind": ') == [NEWS[2]]
    assert reader.feed(b'"ready"}\n') == [{"kind": "ready"}]


def test_more_than_the_limit_is_dropped_and_never_kept():
    first, second = line_of(NEWS[0]), line_of(NEWS[1])
    reader = LineReader(limit_bytes=len(first) + len(second) - 1)
    assert reader.feed(first) == [NEWS[0]]
    assert reader.feed(second + second) == []
    assert reader.feed(line_of(NEWS[2])) == []
