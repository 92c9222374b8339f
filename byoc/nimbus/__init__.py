"""The tunnel between the Control Plane and a cell. The only home of websockets and h11.

``session`` is the multiplexer without I/O, ``connection`` drives it over a ``transport``,
``gateway`` and ``client`` are the two ends, ``http`` speaks HTTP/1.1 inside a stream.
"""
