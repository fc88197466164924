"""What a file is by its first bytes, for those that are taken for checkpoints and are none."""

from __future__ import annotations

import re

HEAD_BYTES = 512
ZIP = b"PK\x03\x04"
PICKLE = re.compile(rb"\x80[\x02-\x05]")  # protocol 2 to 5
ONNX = re.compile(rb"\x08[\x01-\x20](?:[\x12\x1a\x22\x32\x3a\x42]|\x28[\x00-\x7f])")

_CONVERTED = "expected the PyTorch weights it was converted from (.pth, .safetensors)"
_UNPACK = "unpack it and name the file inside"
_KINDS = {
    rb"version https://git-lfs": (
        "a Git LFS pointer, not the weights",
        "run git lfs pull, or download the file itself",
    ),
    rb"\.?\.?/?\.git/annex/|/annex/objects/": ("a git-annex pointer, not the weights", "run git annex get"),
    rb"(?:\xef\xbb\xbf)?\s*<(?:(?i:!doctype html|html|head|body))": (
        "an HTML page, such as a download or login page",
        "download the file itself",
    ),
    rb"\s*<\?xml.*<net": ("an OpenVINO network", _CONVERTED),
    rb"\s*<\?xml": ("an XML file, such as the error of a server", "download the file itself"),
    rb"7767517\s|\xdd\x85\x76\x00": ("an ncnn network (.param)", _CONVERTED),
    rb"\x47\x6b\x30\x01|\x38\x4b\x0d\x00|\x56\xc0\x02\x00": ("ncnn weights (.bin)", _CONVERTED),
    rb"....TFL3": ("a TensorFlow Lite model", _CONVERTED),
    rb"\x89HDF\r\n": ("an HDF5 file, such as Keras writes", _CONVERTED),
    rb"GGUF": ("a GGUF model", _CONVERTED),
    rb"\x93NUMPY": ("a NumPy array", "expected safetensors or a file from torch.save"),
    rb"\s*[{\[]": ("JSON, such as an index or the error of a server", "name the weights themselves"),
    rb"\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|BZh|\x28\xb5\x2f\xfd|.{257}ustar": ("a packed archive", _UNPACK),
    rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF|....ftyp|\x1aE\xdf\xa3": ("a picture or a video", "name weights as the model"),
    rb"\0{16}": ("ncnn weights (.bin) or an incomplete download", _CONVERTED),
    rb"%PDF": ("a PDF", "download the file itself"),
}


def describe_signature(head: bytes) -> str | None:
    """What begins with these bytes and what to do instead; None if it may be a checkpoint or is unknown."""
    if head.startswith(ZIP) or PICKLE.match(head) or ONNX.match(head) or head[8:9] == b"{":
        return None
    found = next((text for pattern, text in _KINDS.items() if re.match(pattern, head, re.DOTALL)), None)
    return f"is {found[0]}; {found[1]}" if found else None


def is_onnx(head: bytes) -> bool:
    """Whether it begins as an ONNX model does: its version, then a text or the graph."""
    return ONNX.match(head) is not None and head[8:9] != b"{"


def is_safetensors(head: bytes, suffix: str) -> bool:
    """Whether to read it as safetensors: 8 bytes of length and JSON, or that name on nothing that torch.save writes."""
    return head[8:9] == b"{" or (suffix == ".safetensors" and not head.startswith(ZIP) and not PICKLE.match(head))
