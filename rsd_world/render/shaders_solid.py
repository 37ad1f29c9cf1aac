"""Shaders of what stands: scenery, facades, actors and traffic lights."""

# data: emissive kind (1 street lamp), -, -, light of street lamps at the foot
SCENERY_VERTEX = """
out vec3 v_light; out float v_depth;
void main() {
    project(p3d_Vertex);
    v_depth = gl_Position.w;
    float near = clamp(1.2 - 0.15 * max(p3d_Vertex.z - EGO_Z, 0.0), 0.15, 1.0);
    vec3 light = daylight(p3d_Normal, 1.0) + LAMP * (data.w * LAMPS * near) + HEADLIGHT * headlight(p3d_Vertex.xyz);
    v_light = data.x > 0.5 ? mix(tint * light, LAMP * 1.6, LAMPS) : tint * light;
}
"""

FACADE_VERTEX = """
flat out vec3 v_tint; out vec3 v_light; out vec4 v_data; out float v_depth;
void main() {
    project(p3d_Vertex);
    v_depth = gl_Position.w;
    v_light = daylight(p3d_Normal, 1.0) + HEADLIGHT * headlight(p3d_Vertex.xyz);
    v_tint = tint; v_data = data;
}
"""

# data: u, height m, style + building seed in [0, 1), light of street lamps
FACADE_FRAGMENT = """
flat in vec3 v_tint; in vec3 v_light; in vec4 v_data; in float v_depth;
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
    float h = fract(dot(id, vec2(0.7549, 0.5698)) + seed * 0.37);
    h = fract(h * (h + 13.7) * 3.1);
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

PLAIN_FRAGMENT = """
in vec3 v_light; in float v_depth;
void main() { emit(v_light, v_depth, 0.0); }
"""

# data: part, pivot x, y, z. actor[0]: colour, id; actor[1]: brake, blinker left, right, siren (of a traffic light: red,
# yellow, green); actor[2]: door, phase, sunlit, lamp light. Parts: 0 paint, 1 fixed colour, 2 glass, 3 headlamp, 4 tail
# lamp, 5 blinker left, 6 right, 7 siren left, 8 right, 9 limb that swings forward, 10 backward, 11 door paint, 12 door
# glass, 13 door inside, 14 red lamp, 15 yellow, 16 green, 17 pedal, 19 painted limb forward, 20 backward
ACTOR_VERTEX = """
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
    float right_siren = step(0.25, actor[1].w) * step(actor[1].w, 0.5);
    if (part == 8.0) color = base * light + vec3(1.0, 0.05, 0.03) * right_siren * 1.2;
    if (part == 14.0) color = base * light * 0.5 + vec3(1.0, 0.03, 0.02) * actor[1].x;
    if (part == 15.0) color = base * light * 0.5 + vec3(1.0, 0.58, 0.02) * actor[1].y;
    if (part == 16.0) color = base * light * 0.5 + vec3(0.03, 1.0, 0.35) * actor[1].z;
    v_light = color;
}
"""

ACTOR_FRAGMENT = """
in vec3 v_light; flat in float v_id; flat in float v_air; in float v_depth;
void main() { emit_through(v_light, v_depth * v_air, v_depth, v_id); }
"""
