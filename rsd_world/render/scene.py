"""The scene graph: what of a town never moves, in tiles that are culled one by one."""

from __future__ import annotations

import numpy as np
from panda3d import core

from rsd_world.render import ground, scenery
from rsd_world.render.glow import STREET_LAMP, glow
from rsd_world.render.ground_map import GroundMap, bake_ground_map, texture_of
from rsd_world.render.mesh import Mesh, geom_node, merge, split_by_tile
from rsd_world.render.shading import FAR, GROUND_MATERIALS, LOOK_ROWS, MATERIALS, shader
from rsd_world.render.sky import sky_box, sky_picture
from rsd_world.render.weather import Look
from rsd_world.roads.town import Prop, Town

TILE = 64.0  # m
# Panda3D sorts solid things by memory address; in this bin they keep the scene's order, the same on every run.
SOLID = "rsd-solid"
core.CullBinManager.get_global_ptr().add_bin(SOLID, core.CullBinManager.BT_unsorted, 15)
SKY, SHADOW, HALO, STREAK = range(4)  # draw order of what comes after the solid things
BLEND = core.ColorBlendAttrib.make(
    core.ColorBlendAttrib.M_add, core.ColorBlendAttrib.O_one, core.ColorBlendAttrib.O_one_minus_incoming_alpha
)  # premultiplied: alpha 0 adds light, black takes it away, and a zero in the second target leaves it as it was


def vectors(rows: int) -> core.PTA_LVecBase4f:
    """A uniform array of `rows` four-vectors whose values can be changed in place."""
    array = core.PTA_LVecBase4f.empty_array(rows)
    for i in range(rows):
        array.set_element(i, core.LVecBase4f(0.0))
    return array


def blended(node: core.NodePath, order: int) -> core.NodePath:
    """Draw `node` after the solid things, mixing into what is there."""
    node.set_attrib(BLEND)
    node.set_depth_write(False)
    node.set_bin("fixed", order)
    return node


class Scene:
    """The root of all that is drawn, and the material nodes that static and moving things hang from."""

    def __init__(self, town: Town, look: Look) -> None:
        self.root = core.NodePath("scene")
        # The shaders flip the picture, which turns every triangle's winding.
        self.root.set_attrib(core.CullFaceAttrib.make(core.CullFaceAttrib.M_cull_counter_clockwise))
        self.root.set_bin(SOLID, 0)
        self.look = vectors(LOOK_ROWS)
        self.root.set_shader_input("look", self.look)
        self.lamp_halo = vectors(3)
        self._town = town
        self.ground_map, self._baked_for = bake_ground_map(town, look), look
        self._materials: dict[str, core.NodePath] = {}
        self._weather_look = look
        self._add_ground()
        self._add_standing()

    def material(self, name: str) -> core.NodePath:
        """The node below which everything is drawn with one shader."""
        if name not in self._materials:
            node = self.root.attach_new_node(name, MATERIALS.index(name))
            node.set_shader(shader(name, self._weather_look))
            self._materials[name] = node
        return self._materials[name]

    def relight(self, look: Look) -> GroundMap:
        """Bake the ground map and the sky for another weather, and take the shaders that it needs."""
        self._weather_look = look
        for name, node in self._materials.items():
            node.set_shader(shader(name, look))
        self.material("sky").set_shader_input("sky_map", texture_of(sky_picture(look), "sky", repeat=False))
        if look != self._baked_for:
            self.ground_map, self._baked_for = bake_ground_map(self._town, look), look
        texture = texture_of(self.ground_map.pixels, "ground", repeat=False)
        for name in GROUND_MATERIALS:
            self.material(name).set_shader_input("ground_map", texture)
        height, width = self.ground_map.pixels.shape[:2]
        scale = 1.0 / (self.ground_map.resolution * np.array([width, height]))
        self.look.set_element(8, core.LVecBase4f(*self.ground_map.origin, *scale))
        lamps = self.material("halo").find("street-lamps")
        if not lamps.is_empty():
            lamps.show() if look.lamps > 0.2 else lamps.hide()
            self.lamp_halo.set_element(1, core.LVecBase4f(0, 0, 0, look.lamps))
        return self.ground_map

    def _add_tiles(self, material: str, mesh: Mesh, parent: core.NodePath | None = None) -> None:
        parent = parent or self.material(material)
        for region in split_by_tile(mesh, 4.0 * TILE):
            node = parent.attach_new_node("region")
            for part in split_by_tile(region, 4.0 * TILE if material == "grass" else TILE):
                node.attach_new_node(geom_node(part, material))

    def _add_ground(self) -> None:
        town = self._town
        self._add_tiles("grass", ground.terrain_mesh(town))
        self._add_tiles("road", ground.road_mesh(town))
        self._add_tiles("crossing", ground.paint_mesh(town))
        self._add_tiles("paving", ground.paving_mesh(town))

    def _lamp_lit(self, meshes: list[Mesh]) -> Mesh:
        mesh = merge(meshes)
        return mesh.with_data(3, self.ground_map.at(mesh.position)[:, 1]) if len(mesh.position) else mesh

    def _add_standing(self) -> None:
        town = self._town
        small = [scenery.prop_mesh(prop) for prop in town.props] + [scenery.stop_sign(sign) for sign in town.stop_signs]
        roofs = [scenery.building_roof(building) for building in town.buildings]
        self._add_tiles("scenery", self._lamp_lit(small + roofs))
        self._add_tiles("facade", self._lamp_lit([scenery.building_walls(building) for building in town.buildings]))
        halos = [
            glow((0.0, 0.0, p.height - 0.1), STREET_LAMP, 1.1).placed(_lamp_head(p))
            for p in town.props
            if p.kind == "lamp"
        ]
        lamps = blended(self.material("halo"), HALO).attach_new_node("street-lamps")
        lamps.set_shader_input("actor", self.lamp_halo)
        self._add_tiles("halo", merge(halos), lamps)

    def add_sky(self) -> core.NodePath:
        """A sky; the caller moves it with the viewer."""
        node = self.material("sky").attach_new_node(geom_node(sky_box(FAR / 2.0), "sky"))
        node.set_depth_write(False)
        node.set_bin("fixed", SKY)
        return node

    def add_rain(self) -> core.NodePath:
        """Streaks of rain; the caller moves them with the viewer."""
        node = blended(self.material("streak").attach_new_node(geom_node(_streaks(260), "rain")), STREAK)
        node.set_two_sided(True)
        node.node().set_bounds(core.BoundingSphere((0, 0, 2), 12.0))
        node.node().set_final(True)
        return node


def _lamp_head(prop: Prop) -> np.ndarray:
    return prop.position + 1.8 * np.array([np.cos(prop.yaw), np.sin(prop.yaw), 0.0])


def _streaks(count: int) -> Mesh:
    rng = np.random.default_rng(11)
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(2.5, 9.0, count)
    foot = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    across = np.column_stack([-np.sin(angle), np.cos(angle)]) * 0.006
    length = rng.uniform(0.25, 0.5, count)
    corners = [(-1, 0.0), (1, 0.0), (1, 1.0), (-1, 1.0)]
    position = np.stack(
        [np.column_stack([foot + side * across, top * length]) for side, top in corners], axis=1
    ).reshape(-1, 3)
    phase = np.repeat(rng.random(count), 4)
    data = np.column_stack([np.zeros((4 * count, 2)), phase, np.tile([0.3, 0.3, 1.0, 1.0], count)])
    first = 4 * np.arange(count)[:, None]
    triangles = np.concatenate([first + [0, 1, 2], first + [0, 2, 3]])
    return Mesh(position, np.tile([0.0, 0.0, 1.0], (4 * count, 1)), np.ones((4 * count, 3)), data, triangles)
