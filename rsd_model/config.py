"""The size of the network as a validated dataclass read from YAML: configuration makes base, tiny, nano and more."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rsd_model.config_reader import ConfigError, build, read_yaml
from rsd_model.config_reader import check as _check
from rsd_model.contracts import MAP_CLASSES, OBJECT_CLASSES, PLAN_STEPS, Command
from rsd_model.resources import config_path

NAMED_CONFIGS = ("base", "tiny", "nano", "bevformer_base")


@dataclass(frozen=True)
class ImageConfig:
    """Camera images as the network takes them."""

    width: int = 1280  # px, before padding
    height: int = 720  # px, before padding
    size_divisor: int = 32  # zero padding at the right and the bottom up to the next multiple
    resize: str = "bilinear"  # "bilinear" as published | "area": no aliasing where images shrink a lot
    pad_with: str = "zero"  # "zero" after normalisation, as published | "black": zero before it
    mean: tuple[float, ...] = (123.675, 116.28, 103.53)  # 0..255, in the order of `channels`
    std: tuple[float, ...] = (58.395, 57.12, 57.375)
    channels: str = "rgb"  # "rgb" | "bgr": order in which the network takes them

    def __post_init__(self) -> None:
        _check(self.width > 0 and self.height > 0, "image.width, image.height", (self.width, self.height), "> 0")
        _check(self.resize in ("bilinear", "area"), "image.resize", self.resize, "bilinear, area")
        _check(self.pad_with in ("zero", "black"), "image.pad_with", self.pad_with, "zero, black")
        _check(self.channels in ("rgb", "bgr"), "image.channels", self.channels, "rgb, bgr")
        _check(self.size_divisor > 0, "image.size_divisor", self.size_divisor, "> 0")

    @property
    def padded_size(self) -> tuple[int, int]:
        """(height, width) in px of the tensor that enters the network."""
        step = self.size_divisor
        return -(-self.height // step) * step, -(-self.width // step) * step


@dataclass(frozen=True)
class BackboneConfig:
    """ResNet. Defaults: ResNet-50 as VAD uses it."""

    block: str = "bottleneck"  # "basic" | "bottleneck"
    depths: tuple[int, ...] = (3, 4, 6, 3)  # blocks a stage
    widths: tuple[int, ...] = (64, 128, 256, 512)  # inner channels a stage (output x4 for bottleneck)
    stem_width: int = 64
    stem_kernel: int = 7  # 7 as published, 3 is cheaper on a CPU
    out_stages: tuple[int, ...] = (1, 2, 3)  # stages handed to the neck
    frozen_stages: int = 1  # the stem and this many stages never train; -1 trains all
    train_norm: bool = False  # false: batch norm keeps its statistics and its affine weights, as published
    style: str = "pytorch"  # a stage's stride is in: "pytorch" its first 3x3 | "caffe" its first 1x1 convolution
    deformable_stages: tuple[int, ...] = ()  # stages whose 3x3 convolutions are deformable (DCNv2)

    def __post_init__(self) -> None:
        _check(self.block in ("basic", "bottleneck"), "backbone.block", self.block, "basic, bottleneck")
        same = len(self.depths) == len(self.widths) <= 4
        _check(same, "backbone.depths", self.depths, "as many as widths, at most 4")
        _check(self.stem_kernel in (3, 7), "backbone.stem_kernel", self.stem_kernel, "3, 7")
        stages = range(len(self.depths))
        _check(
            bool(self.out_stages) and all(s in stages for s in self.out_stages),
            "backbone.out_stages", self.out_stages, f"indices of the {len(self.depths)} stages",
        )  # fmt: skip
        frozen = self.frozen_stages
        _check(-1 <= frozen <= len(self.depths), "backbone.frozen_stages", frozen, "-1 .. number of stages")
        bottleneck, deformable = self.block == "bottleneck", self.deformable_stages
        styles = ("pytorch", "caffe") if bottleneck else ("pytorch",)
        _check(self.style in styles, "backbone.style", self.style, f"{', '.join(styles)} with {self.block} blocks")
        allowed = f"indices of the {len(self.depths)} stages" if bottleneck else "none with basic blocks"
        fits = all(s in stages for s in deformable) and (bottleneck or not deformable)
        _check(fits, "backbone.deformable_stages", deformable, allowed)

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each handed-out stage."""
        expansion = 4 if self.block == "bottleneck" else 1
        return tuple(self.widths[s] * expansion for s in self.out_stages)


@dataclass(frozen=True)
class BevConfig:
    """Bird's-eye-view grid and encoder. Rows run along y (forward), columns along x (right), LiDAR frame."""

    rows: int = 200
    columns: int = 200
    range: tuple[float, ...] = (-15.0, -30.0, -2.0, 15.0, 30.0, 2.0)  # m, x y z minima, then maxima
    layers: int = 6
    temporal_points: int = 4
    temporal_fusion: bool = False  # true: convolutions over current and previous BEV after the layers; VAD has none
    spatial_points: int = 8  # sampling points a level, shared among the heights
    heights: int = 4  # reference heights a pillar
    feature_levels: int = 4  # pyramid levels that are attended
    can_bus_query: bool = True  # speed, acceleration, turn rate and heading enter every cell's query; false: none does
    pyramid_kernel: int = 3  # of the pyramid's output convolutions; 3 as published, 1 is cheaper on a CPU

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "layers", "temporal_points", "heights", "feature_levels"):
            _check(getattr(self, name) > 0, f"bev.{name}", getattr(self, name), "> 0")
        _check(self.pyramid_kernel in (1, 3), "bev.pyramid_kernel", self.pyramid_kernel, "1, 3")
        ordered = len(self.range) == 6 and all(self.range[i] < self.range[i + 3] for i in range(3))
        _check(ordered, "bev.range", self.range, "six numbers, minima below maxima")
        _check(
            self.spatial_points % self.heights == 0, "bev.spatial_points", self.spatial_points,
            f"a multiple of bev.heights = {self.heights}",
        )  # fmt: skip

    @property
    def size(self) -> tuple[float, float]:
        """(x, y) extent in metres."""
        return self.range[3] - self.range[0], self.range[4] - self.range[1]

    @property
    def ego_place(self) -> tuple[float, float]:
        """(x, y) of the LiDAR origin in [0, 1] of the extent."""
        return -self.range[0] / self.size[0], -self.range[1] / self.size[1]


@dataclass(frozen=True)
class ObjectConfig:
    """Object decoder."""

    queries: int = 300
    layers: int = 6
    points: int = 4  # sampling points into the BEV
    classes: int = len(OBJECT_CLASSES)
    max_decoded: int = 100
    decode_range: tuple[float, ...] = (-20.0, -35.0, -10.0, 20.0, 35.0, 10.0)  # m, centres outside are dropped


@dataclass(frozen=True)
class MapConfig:
    """Map decoder."""

    instances: int = 100
    points: int = 20  # points a polyline
    layers: int = 6
    sampling_points: int = 4
    classes: int = len(MAP_CLASSES)
    max_decoded: int = 50
    decode_range: tuple[float, ...] = (-20.0, -35.0, 20.0, 35.0)  # m, x y minima, then maxima, of the bounding box


@dataclass(frozen=True)
class MotionConfig:
    """Futures of the objects."""

    modes: int = 6
    steps: int = PLAN_STEPS
    layers: int = 1
    map_threshold: float = 0.5  # map instances below this score are not attended
    map_distance: float = 0.2  # in normalised BEV units; farther map instances are not attended


EGO_STATUS = ("known", "speed", "acceleration", "yaw_rate", "standstill")  # `rsd_model.inputs.ego_status` says what


@dataclass(frozen=True)
class EgoConfig:
    """The plan. The last five fields are what VAD lacks; off (0, false) in base."""

    commands: int = len(Command)
    steps: int = PLAN_STEPS
    layers: int = 1
    route_points: int = 0  # points of the route ahead that enter the ego query
    route_spacing: float = 2.0  # m between those points
    status: tuple[str, ...] = ()  # of EGO_STATUS: numbers of the vehicle itself that enter the ego query
    bev_points: int = 0  # sampling points of the ego query into the BEV around each route point
    along_route: bool = False  # true: the plan is told along the route, as progress and distance beside it
    halts_apart: bool = False  # true: a plan to halt and one to drive on, and which it is to be (heads/ego.py)

    def __post_init__(self) -> None:
        for name in ("route_points", "bev_points"):
            _check(getattr(self, name) >= 0, f"ego.{name}", getattr(self, name), ">= 0")
        known = set(self.status) <= set(EGO_STATUS) and len(set(self.status)) == len(self.status)
        _check(known, "ego.status", self.status, f"each once of {', '.join(EGO_STATUS)}")
        _check(self.route_spacing > 0, "ego.route_spacing", self.route_spacing, "> 0")
        _check(not self.along_route or self.route_points > 1, "ego.along_route", True, "false without ego.route_points")
        _check(
            self.bev_points == 0 or self.route_points > 0, "ego.bev_points", self.bev_points,
            "0 unless ego.route_points > 0: the route says where to look",
        )  # fmt: skip


@dataclass(frozen=True)
class QuirkConfig:
    """What the public VAD code does and a fresh training should not; public checkpoints need all but the last on."""

    rotate_about: tuple[float, ...] | None = (100.0, 100.0)  # cell x, y the previous BEV turns about; null: the ego's
    shift_current_frame: bool = True  # the ego shift also moves the reference points into the current BEV
    keep_initial_query: bool = True  # with history, temporal attention sees the current BEV as it was before layer 1
    map_anchor_at_corner: bool = True  # a map instance's nearest point is measured to the BEV's corner, not to the ego
    ego_at_corner: bool = True  # the ego's position encoding is that of the BEV's corner
    always_pad_map: bool = True  # motion attends a zero key at (1, 1) even where map instances are near
    # Samples of a batch read each other's BEV and cameras. Off even in base: public checkpoints were trained and are
    # run one sample at a time, where it changes nothing.
    mix_batch: bool = False


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms (VAD's on Bench2Drive); matching uses the class, box and point weights too."""

    object_class: float = 2.0
    object_box: float = 0.25
    box_code: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.2, 0.2)
    # m/s below which the error of a velocity counts squared; 0: never, as in VAD. Most objects stand, and the absolute
    # error of a guess is least at their median, zero: a small network then never begins to see that some move.
    velocity_beta: float = 0.0
    bev_flow: float = 1.0  # with bev.temporal_fusion
    future: float = 0.2
    future_class: float = 0.2
    map_class: float = 2.0
    map_points: float = 1.0
    map_direction: float = 0.005
    plan: float = 1.0
    plan_all_commands: bool = False  # true: every row learns the plan, for models that know the route itself
    plan_bound: float = 1.0
    plan_collision: float = 1.0
    plan_direction: float = 0.5
    bound_class: int = 2  # map class the plan keeps away from; 2 is "SolidSolid", as the public code has it
    bound_distance: float = 1.0  # m
    divider_class: int = 0  # map class the plan runs along; 0 is "Broken"
    collision_classes: int = 5  # object classes 0 .. n-1 count as vehicles
    collision_distance: tuple[float, ...] = (1.5, 3.0)  # m, x and y
    constraint_score: float = 0.5  # map instances and objects below this score do not constrain the plan

    def __post_init__(self) -> None:
        _check(len(self.box_code) == 10, "loss.box_code", self.box_code, "ten weights")
        _check(self.velocity_beta >= 0.0, "loss.velocity_beta", self.velocity_beta, ">= 0")


@dataclass(frozen=True)
class ModelConfig:
    """The whole network. Defaults are VAD on Bench2Drive as published (`base`)."""

    name: str = "base"
    cameras: int = 6
    dims: int = 256
    heads: int = 8
    ffn_dims: int = 512
    image: ImageConfig = field(default_factory=ImageConfig)
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    bev: BevConfig = field(default_factory=BevConfig)
    objects: ObjectConfig = field(default_factory=ObjectConfig)
    map: MapConfig = field(default_factory=MapConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    ego: EgoConfig = field(default_factory=EgoConfig)
    quirks: QuirkConfig = field(default_factory=QuirkConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    risk_head: dict[str, Any] | None = None  # RiskHeadConfig's settings (heads/risk.py), {} = defaults; null: none
    language_head: dict[str, Any] | None = None  # LanguageHeadConfig's settings (heads/language.py); only trains

    def __post_init__(self) -> None:
        _check(self.cameras > 0, "cameras", self.cameras, "> 0")
        _check(self.dims % (2 * self.heads) == 0, "dims", self.dims, f"a multiple of 2 x heads = {2 * self.heads}")
        stages, levels = len(self.backbone.out_stages), self.bev.feature_levels
        allowed = f"1 .. {stages + 1} for {stages} backbone stages"
        _check(1 <= levels <= stages + 1, "bev.feature_levels", levels, allowed)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionary, as YAML or JSON holds it; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "configuration") -> ModelConfig:
        """Build from a nested dictionary; raises ConfigError that names `source`, the key and what was allowed."""
        return build(cls, values, source)


def load_model_config(name_or_path: str | Path) -> ModelConfig:
    """Read a shipped configuration (one of NAMED_CONFIGS) or a YAML file.

    Raises ConfigError with the file, the key, the value and what was allowed.
    """
    path = Path(name_or_path)
    if str(name_or_path) in NAMED_CONFIGS:
        path = config_path(f"model/{name_or_path}.yaml")
    if not path.is_file():
        allowed = f"{', '.join(NAMED_CONFIGS)} or a YAML file"
        raise ConfigError(f"no model configuration {name_or_path!s}: allowed are {allowed}")
    return ModelConfig.from_dict(read_yaml(path) or {}, str(path))
