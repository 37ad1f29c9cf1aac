"""The shaders: one pass writes colour and, on request, depth and instance id in a second target.

Rows are flipped in the vertex stage, so that a picture read back has row 0 at the top. Light is linear until `emit`.
`LOOK` names the rows of the uniform array `look`, which holds all of the weather.
"""

from __future__ import annotations

import functools

from panda3d import core

from rsd_world.render import shaders_air as air
from rsd_world.render import shaders_ground as ground
from rsd_world.render import shaders_solid as solid
from rsd_world.render.weather import Look

FAR = 150.0  # m
NEAR = 0.25  # m
DEPTH_STEPS = 65534.0  # depth is stored in 16 bit, 65535 = nothing hit
LOOK_ROWS = 9
GROUND_MATERIALS = ("paving", "crossing", "road", "grass")
# In the order in which they are drawn: what covers much and costs most comes last.
MATERIALS = ("actor", "scenery", "facade", *GROUND_MATERIALS, "sky", "shadow", "halo", "streak")

_LOOK = """
uniform vec4 look[9];
#define SUN_DIR look[0].xyz
#define WET look[0].w
#define SUN look[1].xyz
#define SKY_LIGHT look[2].xyz
#ifdef LAMPS_ON
#define LAMPS look[2].w
#else
#define LAMPS 0.0
#endif
#define GROUND_LIGHT look[3].xyz
#define FOG look[3].w
#define ZENITH look[4].xyz
#define CLOUDS look[4].w
#define HORIZON look[5].xyz
#define FAR look[5].w
#define EGO look[6]
#define TIME look[7].x
#define EGO_Z look[7].y
#define NIGHT look[7].z
#define MAP look[8]
const vec3 LAMP = vec3(1.0, 0.72, 0.40);
const vec3 HEADLIGHT = vec3(1.0, 0.95, 0.82);
"""

_LIGHT = """
vec3 daylight(vec3 n, float sunlit) {
    return mix(GROUND_LIGHT, SKY_LIGHT, 0.5 + 0.5 * n.z) + SUN * (max(dot(n, SUN_DIR), 0.0) * sunlit);
}
float headlight(vec3 p) {
#ifdef LAMPS_ON
    vec2 d = p.xy - EGO.xy;
    vec2 q = vec2(d.x * EGO.z + d.y * EGO.w, d.y * EGO.z - d.x * EGO.w) - vec2(1.5, 0.0);
    float ahead = clamp(q.x / 4.0, 0.0, 1.0) * clamp(1.0 - q.x / 48.0, 0.0, 1.0);
    float side = clamp(1.6 - abs(q.y) / (1.2 + 0.30 * max(q.x, 0.0)), 0.0, 1.0);
    float height = clamp(1.5 - (p.z - EGO_Z) / (0.7 + 0.05 * max(q.x, 0.0)), 0.0, 1.0);
    return ahead * side * side * height * LAMPS;
#else
    return 0.0;
#endif
}
"""

_VERTEX_IN = """
uniform mat4 p3d_ModelViewProjectionMatrix;
uniform mat4 p3d_ModelMatrix;
in vec4 p3d_Vertex;
in vec3 p3d_Normal;
in vec3 tint;
in vec4 data;
void project(vec4 p) {
    gl_Position = p3d_ModelViewProjectionMatrix * p;
    gl_Position.y = -gl_Position.y;
}
"""

_EMIT = """
layout(location = 0) out vec4 o_color;
layout(location = 1) out vec4 o_aux;
void write_aux(float depth, float id) {
    float d = floor(clamp(depth / FAR, 0.0, 1.0) * 65534.0 + 0.5);
    float d_high = floor(d / 256.0), id_high = floor(id / 256.0);
    o_aux = vec4(d - 256.0 * d_high, id_high, id - 256.0 * id_high, d_high) / 255.0;
}
float haze(float depth) {
    float far = clamp((depth / FAR - 0.72) * 3.8, 0.0, 1.0);
    return max(1.0 - exp2(-1.4427 * FOG * depth), far * far);
}
void emit_through(vec3 light, float air, float depth, float id) {  // air: m of haze before it
    o_color = vec4(sqrt(clamp(mix(light, HORIZON, haze(air)), 0.0, 1.0)), 1.0);
    write_aux(depth, id);
}
void emit(vec3 light, float depth, float id) { emit_through(light, depth, depth, id); }
"""

_SOURCES = {
    **{name: (ground.GROUND_VERTEX, ground.GROUND_FRAGMENT + ground.FRAGMENTS[name]) for name in GROUND_MATERIALS},
    "scenery": (solid.SCENERY_VERTEX, solid.PLAIN_FRAGMENT),
    "facade": (solid.FACADE_VERTEX, solid.FACADE_FRAGMENT),
    "actor": (solid.ACTOR_VERTEX, solid.ACTOR_FRAGMENT),
    "sky": (air.SKY_VERTEX, air.SKY_FRAGMENT),
    "shadow": (air.SHADOW_VERTEX, air.SHADOW_FRAGMENT),
    "halo": (air.HALO_VERTEX, air.HALO_FRAGMENT),
    "streak": (air.STREAK_VERTEX, air.STREAK_FRAGMENT),
}


@functools.cache
def _compiled(material: str, lamps: bool, wet: bool) -> core.Shader:
    vertex, fragment = _SOURCES[material]
    head = "#version 330\n" + "#define LAMPS_ON\n" * lamps + "#define WET_ON\n" * wet + _LOOK + _LIGHT
    return core.Shader.make(core.Shader.SL_GLSL, head + _VERTEX_IN + vertex, head + _EMIT + fragment)


def shader(material: str, look: Look) -> core.Shader:
    """The shader of one of `MATERIALS` with only what the weather needs: software rasterisers pay for every branch."""
    return _compiled(material, look.lamps > 0.0, look.wetness > 0.0)
