"""The part of cv_bridge that serves 8-bit colour images and float depth images."""

from __future__ import annotations

import array

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

ENCODINGS = {  # name: (element type, channels)
    "rgb8": (np.uint8, 3),
    "bgr8": (np.uint8, 3),
    "rgba8": (np.uint8, 4),
    "bgra8": (np.uint8, 4),
    "mono8": (np.uint8, 1),
    "8UC1": (np.uint8, 1),
    "8UC3": (np.uint8, 3),
    "8UC4": (np.uint8, 4),
    "16UC1": (np.uint16, 1),
    "mono16": (np.uint16, 1),
    "32FC1": (np.float32, 1),
}
COLOR_NAMES = {"rgb8": "RGB", "bgr8": "BGR", "rgba8": "RGBA", "bgra8": "BGRA", "mono8": "GRAY"}
CHANNELS_TO_ENCODING = {1: "mono8", 3: "bgr8", 4: "bgra8"}


class CvBridgeError(TypeError):
    """An image that cannot be converted; the text names encoding and sizes."""


class CvBridge:
    """Converts sensor_msgs images to numpy and back."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = "passthrough") -> np.ndarray:
        """Image message to (H, W) or (H, W, channels); with "passthrough" a view of the message's own memory.

        Raises CvBridgeError for an encoding it does not know, sizes that disagree, or a conversion that makes no sense.
        """
        element, channels = _encoding(img_msg.encoding)
        kind = np.dtype(element).newbyteorder(">" if img_msg.is_bigendian else "<")
        row = img_msg.width * channels * kind.itemsize
        if img_msg.step < row or len(img_msg.data) < img_msg.step * img_msg.height:
            raise CvBridgeError(
                f"{img_msg.encoding} image of {img_msg.width}x{img_msg.height} has step {img_msg.step} and "
                f"{len(img_msg.data)} bytes; it needs at least {row} a row and {row * img_msg.height} in all"
            )
        data = np.frombuffer(img_msg.data, np.uint8, img_msg.step * img_msg.height)
        rows = data.reshape(img_msg.height, img_msg.step)[:, :row]
        shape = (img_msg.height, img_msg.width) if channels == 1 else (img_msg.height, img_msg.width, channels)
        image: np.ndarray = rows.view(kind).reshape(shape)
        return _convert_color(image, img_msg.encoding, desired_encoding)

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = "passthrough", header: Header | None = None) -> Image:
        """(H, W) or (H, W, channels) to an image message; "passthrough" writes OpenCV's type name (8UC3)."""
        channels = 1 if cvim.ndim == 2 else cvim.shape[2]
        if encoding == "passthrough":
            encoding = next(
                (name for name, of in ENCODINGS.items() if "C" in name and of == (cvim.dtype, channels)), ""
            )
        if _encoding(encoding) != (cvim.dtype, channels):
            raise CvBridgeError(f"an array of {cvim.dtype} with {channels} channels cannot be sent as {encoding!r}")
        message = Image(height=cvim.shape[0], width=cvim.shape[1], encoding=encoding)
        message.step = cvim.shape[1] * channels * cvim.itemsize
        message.is_bigendian = int(cvim.dtype.byteorder == ">")
        message.data = _bytes_array(cvim)
        if header is not None:
            message.header = header
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: CompressedImage, desired_encoding: str = "passthrough"
    ) -> np.ndarray:
        """JPEG or PNG message to (H, W) or (H, W, channels), BGR unless told otherwise.

        Raises CvBridgeError for data that does not decode.
        """
        data = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
        if image is None:
            raise CvBridgeError(
                f"compressed image of format {cmprs_img_msg.format!r} and {data.size} bytes does not decode"
            )
        return _convert_color(image, CHANNELS_TO_ENCODING[1 if image.ndim == 2 else image.shape[2]], desired_encoding)

    def cv2_to_compressed_imgmsg(self, cvim: np.ndarray, dst_format: str = "jpg") -> CompressedImage:
        """BGR or mono (H, W[, channels]) to a message compressed as OpenCV's format of that name."""
        done, data = cv2.imencode(f".{dst_format}", cvim)
        if not done:
            raise CvBridgeError(f"an array of {cvim.dtype} and shape {cvim.shape} does not compress as {dst_format!r}")
        return CompressedImage(format=dst_format, data=_bytes_array(data))


def _encoding(name: str) -> tuple[type, int]:
    if name not in ENCODINGS:
        raise CvBridgeError(f"unknown image encoding {name!r}; known are {', '.join(ENCODINGS)}")
    return ENCODINGS[name]


def _convert_color(image: np.ndarray, encoding: str, desired: str) -> np.ndarray:
    if desired in ("passthrough", encoding):
        return image
    if encoding not in COLOR_NAMES or desired not in COLOR_NAMES:
        raise CvBridgeError(f"cannot convert an image of encoding {encoding!r} to {desired!r}")
    return cv2.cvtColor(image, getattr(cv2, f"COLOR_{COLOR_NAMES[encoding]}2{COLOR_NAMES[desired]}"))


def _bytes_array(values: np.ndarray) -> array.array:
    # Assigning numpy itself to a message's data checks every byte in Python: 329 ms for a full image instead of 0.4.
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).data.cast("B"))
    return data
