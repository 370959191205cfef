"""What keeps a file from being read."""


class RecordingError(Exception):
    """A file that cannot be read as candles or trades. One sentence: what was found, and what to do."""


class NotARecording(RecordingError):
    """A readable file that holds neither candles nor trades: in a folder it is skipped and counted."""
