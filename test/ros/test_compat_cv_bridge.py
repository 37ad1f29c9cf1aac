"""Images between messages and numpy: the same suite for the real cv_bridge and for ours."""

import array

import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image

from rsd_ros.compat import cv_bridge

BRIDGE = cv_bridge.CvBridge()
RNG = np.random.default_rng(0)


def colour(channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (6, 9, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("encoding", "image"),
    [
        ("rgb8", colour(3)),
        ("bgr8", colour(3)),
        ("rgba8", colour(4)),
        ("bgra8", colour(4)),
        ("mono8", colour(1)[..., 0]),
        ("32FC1", RNG.random((6, 9), dtype=np.float32)),
    ],
)
def test_an_image_survives_the_way_there_and_back(encoding, image):
    message = BRIDGE.cv2_to_imgmsg(image, encoding)
    assert (message.height, message.width, message.encoding) == (6, 9, encoding)
    assert message.step == image.strides[0]
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), image)


@pytest.mark.parametrize(
    ("encoding", "order"), [("bgr8", [2, 1, 0]), ("bgra8", [2, 1, 0]), ("rgba8", [0, 1, 2]), ("rgb8", [0, 1, 2])]
)
def test_colours_are_put_in_the_order_asked_for(encoding, order):
    image = colour(4 if "a" in encoding else 3)
    converted = BRIDGE.imgmsg_to_cv2(BRIDGE.cv2_to_imgmsg(image, encoding), "rgb8")
    np.testing.assert_array_equal(converted, image[..., order])


def test_padding_at_the_end_of_rows_is_skipped():
    image = colour(3)
    padded = np.concatenate([image.reshape(6, 27), np.zeros((6, 5), np.uint8)], axis=1)
    message = Image(height=6, width=9, encoding="rgb8", step=32)
    message.data = array.array("B", padded.tobytes())
    np.testing.assert_array_equal(BRIDGE.imgmsg_to_cv2(message), image)


def test_an_encoding_that_cannot_be_converted_is_refused():
    message = BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), np.float32), "32FC1")
    with pytest.raises(cv_bridge.CvBridgeError):
        BRIDGE.imgmsg_to_cv2(message, "rgb8")


@pytest.mark.parametrize("encoding", ["bgr8", "made_up"])
def test_an_array_that_does_not_fit_its_encoding_is_refused(encoding):
    with pytest.raises(cv_bridge.CvBridgeError):
        BRIDGE.cv2_to_imgmsg(np.zeros((2, 2), np.float32), encoding)


def test_a_png_survives_the_way_there_and_back():
    image = colour(3)
    message = BRIDGE.cv2_to_compressed_imgmsg(image, "png")
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message), image)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(message, "rgb8"), image[..., ::-1])


def test_a_jpeg_comes_close_to_its_image():
    image = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    message = BRIDGE.cv2_to_compressed_imgmsg(image)
    assert np.abs(BRIDGE.compressed_imgmsg_to_cv2(message).astype(int) - image).max() < 8


@pytest.mark.skipif("fallback" not in cv_bridge.CvBridge.__module__, reason="the real cv_bridge does not check")
class TestGarbage:
    def test_too_few_bytes_are_named(self):
        message = Image(height=6, width=9, encoding="rgb8", step=27, data=array.array("B", bytes(100)))
        with pytest.raises(cv_bridge.CvBridgeError, match=r"100 bytes.*162"):
            BRIDGE.imgmsg_to_cv2(message)

    @pytest.mark.parametrize("data", [b"", b"no image at all"])
    def test_data_that_does_not_decode_is_named(self, data):
        message = CompressedImage(format="jpeg", data=array.array("B", data))
        with pytest.raises(cv_bridge.CvBridgeError, match="does not decode"):
            BRIDGE.compressed_imgmsg_to_cv2(message)
