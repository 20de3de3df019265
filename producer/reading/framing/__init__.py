"""How answers come over the wire: bytes in any pieces go in, JSON documents come out.

What the documents mean is in `shapes`. Everything here works in bounded memory.
"""
