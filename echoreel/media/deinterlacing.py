"""Interlaced frames, of which every second row is filmed later, -> whole pictures, by FFmpeg's bwdif."""

from collections import deque
from collections.abc import Iterator

import av
from av.filter import Graph


def deinterlaced(frames: Iterator[tuple[float, av.VideoFrame]]) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames with their times, as many as given; those that are not interlaced as they are.

    Raises av.FFmpegError.
    """
    graph, times = None, deque[float]()
    for time, frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield time, frame
            continue
        graph = graph or _graph(frame)
        times.append(time)
        graph.push(frame)
        yield from _ready(graph, times)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph, times)


def _graph(frame: av.VideoFrame) -> Graph:
    graph = Graph()
    nodes = [
        graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        ),
        graph.add("bwdif", "mode=send_frame:deint=interlaced"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    return graph


def _ready(graph: Graph, times: deque[float]) -> Iterator[tuple[float, av.VideoFrame]]:
    while times:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield times.popleft(), frame
