"""The shaders: one pass writes colour and, on request, depth and instance id in a second target.

Rows are flipped in the vertex stage, so that a picture read back has row 0 at the top. Light is linear until `emit`.
`LOOK` names the rows of the uniform array `look`, which holds all of the weather.
"""

from __future__ import annotations

from panda3d import core

FAR = 150.0  # m
NEAR = 0.25  # m
DEPTH_STEPS = 65534.0  # depth is stored in 16 bit, 65535 = nothing hit
LOOK_ROWS = 9
GROUND_MATERIALS = ("paving", "crossing", "road", "grass")
# In the order in which they are drawn: what covers much and costs most comes last.
MATERIALS = ("actor", "scenery", "facade", *GROUND_MATERIALS, "sky", "shadow", "halo", "streak")

_LOOK = """
#version 330
uniform vec4 look[9];
#define SUN_DIR look[0].xyz
#define WET look[0].w
#define SUN look[1].xyz
#define SKY_LIGHT look[2].xyz
#define LAMPS look[2].w
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
    vec2 d = p.xy - EGO.xy;
    vec2 q = vec2(d.x * EGO.z + d.y * EGO.w, d.y * EGO.z - d.x * EGO.w) - vec2(1.5, 0.0);
    float ahead = clamp(q.x / 4.0, 0.0, 1.0) * clamp(1.0 - q.x / 48.0, 0.0, 1.0);
    float side = clamp(1.6 - abs(q.y) / (1.2 + 0.30 * max(q.x, 0.0)), 0.0, 1.0);
    float height = clamp(1.5 - (p.z - EGO_Z) / (0.7 + 0.05 * max(q.x, 0.0)), 0.0, 1.0);
    return ahead * side * side * height * LAMPS;
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

_GROUND_VERTEX = """
out vec3 v_world; out vec3 v_tint; out vec4 v_data; out float v_depth; out vec3 v_normal;
void main() {
    project(p3d_Vertex);
    v_world = p3d_Vertex.xyz; v_tint = tint; v_data = data; v_normal = p3d_Normal; v_depth = gl_Position.w;
}
"""

_GROUND_FRAGMENT = """
uniform sampler2D ground_map;
in vec3 v_world; in vec3 v_tint; in vec4 v_data; in float v_depth; in vec3 v_normal;
float band(float t, float a, float b, float w) {  // share of a pixel of width w at t inside [a, b]
    return clamp((min(t + 0.5 * w, b) - max(t - 0.5 * w, a)) / w, 0.0, 1.0);
}
float dashes(float t, float dash, float period, float w) {  // the same for a repeated band [0, dash]
    w = min(w, 4.0 * period);
    vec2 e = vec2(t - 0.5 * w, t + 0.5 * w) / period;
    vec2 full = floor(e) * dash + min(fract(e) * period, vec2(dash));
    return (full.y - full.x) / w;
}
vec3 lit(vec3 albedo, vec3 spots, float gloss) {
    vec3 light = daylight(v_normal, spots.r) + LAMP * (spots.g * LAMPS) + HEADLIGHT * headlight(v_world);
    vec3 color = albedo * light * (1.0 - 0.55 * WET);
    if (WET > 0.0) {
        vec3 view = v_world - vec3(EGO.xy, EGO_Z + 1.6);
        float grazing = clamp(1.0 - abs(view.z) * inversesqrt(dot(view, view)), 0.0, 1.0);
        grazing *= grazing; grazing *= grazing;
        float puddle = smoothstep(0.45, 0.60, spots.b);
        float mirror = WET * gloss * (0.04 + 0.42 * grazing) * (0.35 + 1.0 * puddle);
        color = mix(color, mix(HORIZON, ZENITH, 0.3) + LAMP * (spots.g * LAMPS * 0.5), mirror);
    }
    return color;
}
vec3 spots_here() { return texture(ground_map, (v_world.xy - MAP.xy) * MAP.zw).rgb; }
"""

_FRAGMENTS = {
    "grass": """
void main() {
    vec3 spots = spots_here();
    vec2 c = fract(v_world.xy * 0.37) - 0.5;
    emit(lit(v_tint * (0.75 + 0.5 * spots.b + 0.3 * c.x * c.y), spots, 0.15), v_depth, 0.0);
}""",
    # data: s, m left-edge distance, lane width, left marking + 8 * right marking (0 none, 1 broken, 2 solid, 3 double; +4 yellow)
    "road": """
float line(float kind, float edge, float w, float dashed) {
    float single = band(edge, -1.0, 0.10, w);
    float twin = band(edge, 0.07, 0.19, w);
    return kind > 2.5 ? twin : (kind > 1.5 ? single : (kind > 0.5 ? single * dashed : 0.0));
}
void main() {
    vec3 spots = spots_here();
    float w = max(fwidth(v_data.y), 1e-4);
    float dashed = dashes(v_data.x, 3.0, 7.5, max(fwidth(v_data.x), 1e-3));
    float code = floor(v_data.w + 0.5);
    float right = floor(code / 8.0), left = code - 8.0 * right;
    float yellow = left > 3.5 ? 1.0 : 0.0;
    float l = line(left - 4.0 * yellow, v_data.y, w, dashed);
    float r = line(right, v_data.z - v_data.y, w, dashed);
    float tracks = 1.0 - abs(abs(v_data.y - 0.5 * v_data.z) - 0.85);
    vec3 albedo = v_tint * (0.82 + 0.36 * spots.b - 0.10 * clamp(tracks, 0.0, 1.0));
    albedo = mix(albedo, mix(vec3(0.82), vec3(0.86, 0.56, 0.06), yellow), l);
    albedo = mix(albedo, vec3(0.82), r);
    emit(lit(albedo, spots, 1.0), v_depth, 0.0);
}""",
    # data: u across the stripes, stripe width, period (0 = all paint), -
    "crossing": """
void main() {
    vec3 spots = spots_here();
    float paint = v_data.z > 0.0 ? dashes(v_data.x, v_data.y, max(v_data.z, 0.1), max(fwidth(v_data.x), 1e-3)) : 1.0;
    emit(lit(mix(v_tint * (0.82 + 0.36 * spots.b), vec3(0.80), paint * (0.85 + 0.15 * spots.b)), spots, 0.9), v_depth, 0.0);
}""",
    "paving": """
void main() {
    vec3 spots = spots_here();
    vec2 w = max(fwidth(v_world.xy), vec2(1e-3));
    float joint = max(dashes(v_world.x, 0.05, 1.2, w.x), dashes(v_world.y, 0.05, 1.2, w.y)) * v_data.x;
    emit(lit(v_tint * (0.88 + 0.24 * spots.b) * (1.0 - 0.45 * joint), spots, 0.6), v_depth, 0.0);
}""",
}

# data: emissive kind (1 street lamp), -, -, light of street lamps at the foot
_SCENERY_VERTEX = """
out vec3 v_light; out float v_depth;
void main() {
    project(p3d_Vertex);
    v_depth = gl_Position.w;
    float near = clamp(1.2 - 0.15 * max(p3d_Vertex.z - EGO_Z, 0.0), 0.15, 1.0);
    vec3 light = daylight(p3d_Normal, 1.0) + LAMP * (data.w * LAMPS * near) + HEADLIGHT * headlight(p3d_Vertex.xyz);
    v_light = data.x > 0.5 ? mix(tint * light, LAMP * 1.6, LAMPS) : tint * light;
}
"""

_FACADE_VERTEX = """
out vec3 v_light; out vec3 v_tint; out vec4 v_data; out float v_depth; out vec3 v_normal;
void main() {
    project(p3d_Vertex);
    v_depth = gl_Position.w;
    v_light = daylight(p3d_Normal, 1.0) + HEADLIGHT * headlight(p3d_Vertex.xyz);
    v_tint = tint; v_data = data; v_normal = p3d_Normal;
}
"""

# data: u, height m, style + building seed in [0, 1), light of street lamps
_FACADE_FRAGMENT = """
in vec3 v_light; in vec3 v_tint; in vec4 v_data; in float v_depth; in vec3 v_normal;
float band(float t, float a, float b, float w) {
    return clamp((min(t + 0.5 * w, b) - max(t - 0.5 * w, a)) / w, 0.0, 1.0);
}
void main() {
    float style = floor(v_data.z), seed = floor(fract(v_data.z) * 90.0 + 0.5);
    vec2 cell = vec2(style < 1.5 ? 2.6 : 3.4, 3.2);
    vec2 g = vec2(v_data.x, v_data.y - 0.4) / cell;
    vec2 w = max(fwidth(g), vec2(1e-4)), f = fract(g), id = floor(g);
    float wide = style > 2.5 ? 0.06 : (style > 1.5 ? 0.16 : 0.24);
    float window = band(f.x, wide, 1.0 - wide, w.x) * band(f.y, 0.28, 0.84, w.y);
    float frame = band(f.x, wide - 0.05, 1.05 - wide, w.x) * band(f.y, 0.23, 0.89, w.y) - window;
    float ledge = band(f.y, 0.0, 0.07, w.y);
    float blur = clamp(1.5 - max(w.x, w.y), 0.0, 1.0);
    float h = fract(sin(dot(id, vec2(12.99, 78.23)) + seed * 4.37) * 4375.85);
    float shop = id.y < 0.5 ? 1.0 : 0.0;
    vec3 lamp = LAMP * (v_data.w * LAMPS * clamp(1.1 - 0.16 * v_data.y, 0.0, 1.0));
    vec3 wall = v_tint * (1.0 + 0.18 * ledge - 0.10 * shop) + 0.14 * frame;
    vec3 pane = mix(vec3(0.035, 0.045, 0.06), mix(HORIZON, ZENITH, h), 0.18 + 0.22 * h);
    float burning = step(0.58 - 0.25 * shop, h) * LAMPS;
    pane += vec3(1.0, 0.70, 0.36) * (burning * (0.25 + 0.55 * h));
    vec3 color = mix(wall * (v_light + lamp), pane, window * mix(0.8, 1.0, blur));
    emit(color, v_depth, 0.0);
}
"""

_PLAIN_FRAGMENT = """
in vec3 v_light; in float v_depth;
void main() { emit(v_light, v_depth, 0.0); }
"""

# data: part, pivot along x, pivot along y, pivot z. actor[0] colour + id; actor[1] brake, blinker left, right, siren;
# actor[2] door, phase, sunlit, lamp light. Parts: 0 paint, 1 fixed colour, 2 glass, 3 headlamp, 4 tail lamp, 5 blinker left, 6 right,
# 7 siren left, 8 siren right, 9 leg or arm forward, 10 backward, 11 door paint, 12 door glass, 13 door inside, 14 red lamp,
# 15 yellow, 16 green, 17 pedal, 18 doorway, 19 + = as 9, 10 painted
_ACTOR_VERTEX = """
uniform vec4 actor[3];
out vec3 v_light; flat out float v_id; flat out float v_air; out float v_depth;
void main() {
    float part = floor(data.x + 0.5);
    vec3 p = p3d_Vertex.xyz, n = p3d_Normal, base = tint, pivot = data.yzw;
    bool limb = part == 9.0 || part == 10.0 || part == 19.0 || part == 20.0;
    if (limb) {
        float side = (part == 9.0 || part == 19.0) ? 1.0 : -1.0;
        float a = 0.55 * side * sin(actor[2].y), c = cos(a), s = sin(a);
        vec3 d = p - pivot;
        p = pivot + vec3(c * d.x - s * d.z, d.y, s * d.x + c * d.z);
        n = vec3(c * n.x - s * n.z, n.y, s * n.x + c * n.z);
    } else if (part == 17.0) {
        float a = actor[2].y + pivot.y;
        p += 0.16 * vec3(cos(a), 0.0, -sin(a)) * pivot.x;
    } else if (part >= 11.0 && part <= 13.0) {
        float a = -1.15 * actor[2].x, c = cos(a), s = sin(a);
        vec3 d = p - pivot;
        p = pivot + vec3(c * d.x - s * d.y, s * d.x + c * d.y, d.z);
        n = vec3(c * n.x - s * n.y, s * n.x + c * n.y, n.z);
    }
    project(vec4(p, 1.0));
    v_depth = gl_Position.w;
    v_id = actor[0].w;
    v_air = part >= 14.0 && part <= 16.0 ? 0.3 : (part >= 3.0 && part <= 8.0 ? 0.6 : 1.0);  // lamps pierce fog
    vec3 world = (p3d_ModelMatrix * vec4(p, 1.0)).xyz;
    n = normalize(mat3(p3d_ModelMatrix) * n);
    if (part == 0.0 || part == 11.0 || part >= 19.0) base *= actor[0].rgb;
    vec3 light = daylight(n, actor[2].z) + LAMP * (actor[2].w * LAMPS) + HEADLIGHT * headlight(world);
    vec3 color = base * light;
    if (part == 0.0 || part == 11.0) color += (0.04 + 0.10 * max(n.z, 0.0)) * ZENITH;
    if (part == 2.0 || part == 12.0) color += mix(HORIZON, ZENITH, 0.5 + 0.5 * n.z) * (0.10 + 0.20 * max(n.z, 0.0));
    if (part == 3.0) color = mix(base * light, vec3(1.0, 0.97, 0.85) * 1.5, max(NIGHT, 0.15));
    if (part == 4.0) color = base * light * 0.6 + vec3(1.0, 0.02, 0.01) * (actor[1].x + 0.22 * NIGHT);
    if (part == 5.0) color = base * light + vec3(1.0, 0.42, 0.0) * actor[1].y;
    if (part == 6.0) color = base * light + vec3(1.0, 0.42, 0.0) * actor[1].z;
    if (part == 7.0) color = base * light + vec3(0.05, 0.15, 1.0) * step(0.5, actor[1].w) * 1.2;
    if (part == 8.0) color = base * light + vec3(1.0, 0.05, 0.03) * step(0.25, actor[1].w) * step(actor[1].w, 0.5) * 1.2;
    if (part == 14.0) color = base * light * 0.5 + vec3(1.0, 0.03, 0.02) * actor[1].x;
    if (part == 15.0) color = base * light * 0.5 + vec3(1.0, 0.58, 0.02) * actor[1].y;
    if (part == 16.0) color = base * light * 0.5 + vec3(0.03, 1.0, 0.35) * actor[1].z;
    v_light = color;
}
"""

_ACTOR_FRAGMENT = """
in vec3 v_light; flat in float v_id; flat in float v_air; in float v_depth;
void main() { emit_through(v_light, v_depth * v_air, v_depth, v_id); }
"""

_SKY_VERTEX = """
out vec3 v_dir;
void main() {
    project(p3d_Vertex);
    gl_Position.z = gl_Position.w * 0.999999;
    v_dir = p3d_Vertex.xyz;
}
"""

_SKY_FRAGMENT = """
uniform sampler2D cloud_map;
in vec3 v_dir;
void main() {
    vec3 d = normalize(v_dir);
    float up = max(d.z, 0.0);
    vec3 sky = mix(HORIZON, ZENITH, 1.0 - exp2(-4.5 * up));
    float c = texture(cloud_map, d.xy / (up + 0.25) * 0.35).r;
    float cover = smoothstep(0.75 - 0.5 * CLOUDS, 1.05 - 0.4 * CLOUDS, c) * clamp(up * 5.0, 0.0, 1.0) * (1.0 - clamp(FOG * 40.0, 0.0, 1.0));
    sky = mix(sky, SKY_LIGHT * 1.6 + SUN * 0.25, cover * 0.75);
    float glow = max(dot(d, SUN_DIR), 0.0);
    float g8 = glow * glow; g8 *= g8; g8 *= g8;
    sky += SUN * (0.25 * g8 + 3.0 * smoothstep(0.9985, 0.9993, glow)) * (1.0 - CLOUDS);
    float stars = step(0.9985, fract(sin(dot(floor(d.xy / (0.3 + up) * 170.0), vec2(12.99, 78.23))) * 43758.5));
    sky += 0.5 * stars * step(SUN.r, 0.05) * step(CLOUDS, 0.3) * up;
    vec2 round_about = d.xy * inversesqrt(dot(d.xy, d.xy) + 1e-6);
    float hill = 0.015 + 0.09 * texture(cloud_map, round_about * 0.8).r * texture(cloud_map, round_about * 0.21).r;
    vec3 wood = mix(HORIZON, vec3(0.05, 0.085, 0.05) * (SKY_LIGHT + 0.4 * SUN), 0.55 * exp2(-150.0 * FOG));
    sky = mix(sky, wood, smoothstep(0.0025, -0.0025, d.z - hill));
    o_color = vec4(sqrt(clamp(sky, 0.0, 1.0)), 1.0);
    o_aux = vec4(1.0, 0.0, 0.0, 1.0);
}
"""

# actor[0]: half length, half width, throw of the shadow x, y in the actor's frame; actor[1]: strength, softness, headlights, -
_SHADOW_VERTEX = """
uniform vec4 actor[3];
out vec2 v_at; out float v_depth;
void main() {
    vec2 reach = actor[0].xy + abs(actor[0].zw) * 0.5 + actor[1].yy;
    v_at = p3d_Vertex.xy * reach + actor[0].zw * 0.5;
    project(vec4(v_at, 0.025, 1.0));
    v_depth = gl_Position.w;
}
"""

_SHADOW_FRAGMENT = """
uniform vec4 actor[3];
in vec2 v_at; in float v_depth;
float outside(vec2 p) { return length(max(abs(p) - actor[0].xy + 0.25, 0.0)) - 0.25; }
void main() {
    vec2 throw = actor[0].zw;
    float along = clamp(dot(v_at, throw) / (dot(throw, throw) + 1e-6), 0.0, 1.0);
    vec2 near = v_at - clamp(along - 0.2, 0.0, 1.0) * throw, mid = v_at - along * throw, end = v_at - clamp(along + 0.2, 0.0, 1.0) * throw;
    float d = min(min(outside(v_at), outside(v_at - throw)), min(outside(mid), min(outside(near), outside(end))));
    float a = actor[1].x * (1.0 - smoothstep(-0.5 * actor[1].y, actor[1].y, d)) * (1.0 - haze(v_depth));
    o_color = vec4(0.0, 0.0, 0.0, a);
    o_aux = vec4(0.0);
}
"""

# data: corner x, corner y, lamp (0 red, 1 yellow, 2 green, 3 street lamp), radius m
_HALO_VERTEX = """
uniform mat4 p3d_ModelViewMatrix;
uniform mat4 p3d_ProjectionMatrix;
uniform vec4 actor[3];
out vec2 v_at; out vec3 v_color; out float v_depth;
void main() {
    vec4 eye = p3d_ModelViewMatrix * p3d_Vertex;
    eye.xy += data.xy * data.w;
    gl_Position = p3d_ProjectionMatrix * eye;
    gl_Position.y = -gl_Position.y;
    v_at = data.xy; v_depth = gl_Position.w;
    float k = data.z;
    vec3 c = k < 0.5 ? vec3(1.0, 0.05, 0.03) * actor[1].x : k < 1.5 ? vec3(1.0, 0.6, 0.05) * actor[1].y :
             k < 2.5 ? vec3(0.05, 1.0, 0.4) * actor[1].z : LAMP * actor[1].w;
    v_color = c;
}
"""

_HALO_FRAGMENT = """
in vec2 v_at; in vec3 v_color; in float v_depth;
void main() {
    float r = clamp(1.0 - dot(v_at, v_at), 0.0, 1.0);
    o_color = vec4(v_color * (r * r * (0.22 + 0.30 * LAMPS) * (1.0 - haze(0.4 * v_depth))), 0.0);
    o_aux = vec4(0.0);
}
"""

# rain: two ends of a thin streak; data: x, y of the streak, phase 0 .. 1, which corner
_STREAK_VERTEX = """
out float v_end;
void main() {
    float z = fract(data.z - TIME * 1.3) * 6.0 - 1.5;
    project(vec4(p3d_Vertex.xy, z + p3d_Vertex.z, 1.0));
    v_end = data.w;
}
"""

_STREAK_FRAGMENT = """
in float v_end;
void main() {
    o_color = vec4(sqrt(HORIZON * 1.3) * 0.20 * v_end, 0.20 * v_end);
    o_aux = vec4(0.0);
}
"""

_SOURCES = {
    **{name: (_LIGHT + _GROUND_VERTEX, _LIGHT + _GROUND_FRAGMENT + _FRAGMENTS[name]) for name in GROUND_MATERIALS},
    "scenery": (_LIGHT + _SCENERY_VERTEX, _PLAIN_FRAGMENT),
    "facade": (_LIGHT + _FACADE_VERTEX, _FACADE_FRAGMENT),
    "actor": (_LIGHT + _ACTOR_VERTEX, _ACTOR_FRAGMENT),
    "sky": (_SKY_VERTEX, _SKY_FRAGMENT),
    "shadow": (_SHADOW_VERTEX, _SHADOW_FRAGMENT),
    "halo": (_HALO_VERTEX, _HALO_FRAGMENT),
    "streak": (_STREAK_VERTEX, _STREAK_FRAGMENT),
}


def shader(material: str) -> core.Shader:
    """The compiled-on-use shader of one of `MATERIALS`."""
    vertex, fragment = _SOURCES[material]
    return core.Shader.make(core.Shader.SL_GLSL, _LOOK + _VERTEX_IN + vertex, _LOOK + _EMIT + fragment)
