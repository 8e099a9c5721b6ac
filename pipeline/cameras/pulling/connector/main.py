"""The connector's process: hears what to connect to, and does it until it fails, ends or is killed."""

import resource
import socket
import sys

from pipeline.cameras.pulling.connector.http_source import pipe_http
from pipeline.cameras.pulling.connector.rtsp_relay import Relay
from pipeline.cameras.pulling.connector.task import TASKS
from pipeline.cameras.pulling.ended import FAILURE_ENCODER, Failure, SourceFailed
from pipeline.media.process.child import die_with_parent
from pipeline.media.process.wire import Channel, HungUp

_MOST_BYTES = 1 << 30
"""That it may allocate: a few of the largest segments."""


def main() -> None:
    """Serve the decoder at a socket: a relay's that it listens on, or one that a stream is piped to."""
    control_fd, decoder_fd, lifeline_fd = (int(word) for word in sys.argv[1:])
    die_with_parent(lifeline_fd)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it knows credentials
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
    control = Channel(socket.socket(fileno=control_fd))
    decoder = socket.socket(fileno=decoder_fd)
    try:
        task = TASKS.decode(control.receive() or b"")
        if task.origin.scheme in ("rtsp", "rtsps"):
            Relay(task, decoder).run()
        else:
            pipe_http(task, Channel(decoder))
    except SourceFailed as error:
        try:
            control.send(FAILURE_ENCODER.encode(Failure(reason=error.reason, detail=error.detail[:1000])))
        except HungUp:
            return
    except HungUp:
        return


if __name__ == "__main__":
    main()
