"""The off-screen buffer: all cameras stacked in one tall picture, read back once."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import os

import numpy as np
from panda3d import core

from rsd_model.contracts import CameraRig
from rsd_world.render.shading import FAR, NEAR

GL_REMEDY = (
    "the EGL/OpenGL libraries are missing or no driver answers; "
    "install them with: apt-get install -y libgl1 libegl1 libgl1-mesa-dri"
)
OPTICAL_TO_PANDA = np.array(
    [[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]]
)  # Panda: x right, y forward, z up
_SETTINGS = "notify-level-egldisplay error\nnotify-level-display error\ntextures-power-2 none\n"
_names = itertools.count()


class GraphicsUnavailableError(RuntimeError):
    """No off-screen OpenGL on this machine; the message says how to get it."""


@functools.cache
def open_pipe() -> core.GraphicsPipe:
    """Panda3D's way to EGL; raises GraphicsUnavailableError with the remedy where there is none.

    One a process: closing one would end the display of all.
    """
    core.load_prc_file_data("rsd", _SETTINGS)
    if importlib.util.find_spec("triton"):  # its LLVM crashes when it is loaded after Mesa's, as torch may do later
        importlib.import_module("triton")
    try:
        pipe = core.GraphicsPipeSelection.get_global_ptr().make_module_pipe("p3headlessgl")
    except Exception as error:
        raise GraphicsUnavailableError(f"Panda3D cannot load p3headlessgl ({error}): {GL_REMEDY}") from error
    if pipe is None or not pipe.is_valid():
        raise GraphicsUnavailableError(f"Panda3D opens no EGL display: {GL_REMEDY}")
    return pipe


def panda_matrix(matrix: np.ndarray) -> core.LMatrix4f:
    """A (4, 4) column-vector transform as Panda3D's row-vector matrix."""
    return core.LMatrix4f(*np.asarray(matrix, float).T.ravel().tolist())


def lens_of(intrinsics: np.ndarray, width: int, height: int) -> core.PerspectiveLens:
    """A lens with exactly these intrinsics (3, 3) in pixels."""
    fx, fy, cx, cy = intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]
    lens = core.PerspectiveLens()
    lens.set_film_size(width, height * fx / fy)
    lens.set_focal_length(fx)
    lens.set_film_offset(width / 2.0 - cx, (cy - height / 2.0) * fx / fy)
    lens.set_near_far(NEAR, FAR)
    return lens


@functools.cache
def _first_process() -> int:
    return os.getpid()


def _forbid_fork() -> None:
    if _first_process() != os.getpid():
        raise GraphicsUnavailableError("OpenGL does not survive a fork; start processes with multiprocessing's spawn")


@functools.cache
def _host_buffer() -> core.GraphicsOutput:
    """The one context of this process; second render targets are silently dropped where no such buffer came first."""
    return _open_buffer("host", 1, 1, aux=False, host=None)


def _open_buffer(
    name: str, width: int, height: int, aux: bool, host: core.GraphicsOutput | None
) -> core.GraphicsOutput:
    properties = core.FrameBufferProperties()
    properties.set_rgba_bits(8, 8, 8, 8)
    properties.set_depth_bits(24)
    properties.set_aux_rgba(1 if aux else 0)
    shared = (host.get_gsg(), host) if host is not None else ()
    size = core.WindowProperties.size(width, height)
    flags = core.GraphicsPipe.BF_refuse_window | core.GraphicsPipe.BF_fb_props_optional
    engine = core.GraphicsEngine.get_global_ptr()
    output = engine.make_output(open_pipe(), f"{name}-{next(_names)}", 0, properties, size, flags, *shared)
    if output is None:
        raise GraphicsUnavailableError(f"Panda3D opens no buffer of {width}x{height} pixels: {GL_REMEDY}")
    if aux and not output.get_fb_properties().get_aux_rgba():
        raise GraphicsUnavailableError(
            "this OpenGL driver gives no second render target, which depth and instance images need"
        )
    output.set_clear_color_active(True)
    output.set_clear_color((0.0, 0.0, 0.0, 1.0))
    return output


class StackedBuffer:
    """One off-screen buffer with a region per camera; `color` and `aux` hold what the last frame read back."""

    def __init__(self, rig: CameraRig, scene: core.NodePath, mount: core.NodePath, aux: bool) -> None:
        """`mount` is the node of base_link; `aux` asks for the second target.

        Raises GraphicsUnavailableError without EGL.
        """
        self.width, self.height = (int(v) for v in rig.sizes[0])
        if not (rig.sizes == rig.sizes[0]).all():
            raise ValueError(f"the renderer needs cameras of one size, got {rig.sizes.tolist()}")
        self.count = len(rig.names)
        self._engine = core.GraphicsEngine.get_global_ptr()
        _forbid_fork()
        self._closed = False
        self._host = _host_buffer()
        self._buffer = _open_buffer("cameras", self.width, self.height * self.count, aux, self._host)
        self._buffer.set_active(False)
        self.color = core.Texture("color")
        self._buffer.add_render_texture(self.color, core.GraphicsOutput.RTM_copy_ram, core.GraphicsOutput.RTP_color)
        self.aux = core.Texture("aux") if aux else None
        if aux:
            self._buffer.add_render_texture(
                self.aux, core.GraphicsOutput.RTM_copy_ram, core.GraphicsOutput.RTP_aux_rgba_0
            )
        self._cameras: list[core.NodePath] = []
        for i in range(self.count):
            self._add_camera(rig, i, scene, mount)

    def _add_camera(self, rig: CameraRig, i: int, scene: core.NodePath, mount: core.NodePath) -> None:
        camera = core.Camera(rig.names[i], lens_of(rig.intrinsics[i], self.width, self.height))
        camera.set_scene(scene)
        node = mount.attach_new_node(camera)
        node.set_mat(panda_matrix(rig.cam_to_base[i] @ OPTICAL_TO_PANDA))
        # Rows are flipped in the shader and memory starts at the bottom, so the first camera is the lowest region.
        region = self._buffer.make_display_region(0.0, 1.0, i / self.count, (i + 1) / self.count)
        region.set_camera(node)
        self._cameras.append(node)

    def check(self) -> None:
        """Raises RuntimeError when closed, GraphicsUnavailableError in a forked process."""
        if self._closed:
            raise RuntimeError("this renderer is closed; make another one")
        _forbid_fork()

    def render(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw one frame: (N * H, W, 4) uint8 BGRA views of colour and second target.

        Row 0 is at the top of the first camera; the views hold until the next frame.
        """
        self._buffer.set_active(True)  # the engine draws all active buffers of the process
        self._engine.render_frame()
        self._buffer.set_active(False)
        for states in (core.TransformState, core.RenderState):  # nobody else does: a window's task manager would
            states.garbage_collect()
        shape = (self.count * self.height, self.width, 4)
        return _pixels(self.color, shape), _pixels(self.aux, shape) if self.aux is not None else None

    @property
    def driver(self) -> str:
        """What draws: the driver's renderer and version."""
        gsg = self._host.get_gsg()
        return f"{gsg.get_driver_renderer()}, {gsg.get_driver_version()}"

    def close(self) -> None:
        """Give the buffer back; more than once does no harm."""
        if self._closed:
            return
        self._closed = True
        for camera in self._cameras:  # each holds the scene that holds it
            camera.node().set_scene(core.NodePath())
            camera.remove_node()
        self._buffer.remove_all_display_regions()
        self._buffer.clear_render_textures()
        self._engine.remove_window(self._buffer)
        for texture in filter(None, (self.color, self.aux)):
            texture.release_all()


def _pixels(texture: core.Texture, shape: tuple[int, int, int]) -> np.ndarray:
    if not texture.has_ram_image():
        raise GraphicsUnavailableError("the OpenGL driver returned no picture; is the GPU still there?")
    return np.frombuffer(memoryview(texture.get_ram_image()), np.uint8).reshape(shape)
