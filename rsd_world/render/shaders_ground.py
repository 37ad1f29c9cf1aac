"""Shaders of what lies flat: paving, painted road, grass, under sun, lamps, headlights and rain."""

GROUND_VERTEX = """
out vec3 v_world; out vec4 v_data; out float v_depth;
flat out vec3 v_tint; flat out vec3 v_shade; flat out vec3 v_sun;
void main() {
    project(p3d_Vertex);
    v_world = p3d_Vertex.xyz; v_tint = tint; v_data = data; v_depth = gl_Position.w;
    v_shade = daylight(p3d_Normal, 0.0); v_sun = daylight(p3d_Normal, 1.0) - v_shade;
}
"""

GROUND_FRAGMENT = """
uniform sampler2D ground_map;
in vec3 v_world; in vec4 v_data; in float v_depth;
flat in vec3 v_tint; flat in vec3 v_shade; flat in vec3 v_sun;
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
    vec3 light = v_shade + v_sun * spots.r;
#ifdef LAMPS_ON
    light += LAMP * (spots.g * LAMPS) + HEADLIGHT * headlight(v_world);
#endif
    vec3 color = albedo * light;
#ifdef WET_ON
    vec3 view = v_world - vec3(EGO.xy, EGO_Z + 1.6);
    float grazing = clamp(1.0 - abs(view.z) * inversesqrt(dot(view, view)), 0.0, 1.0);
    grazing *= grazing; grazing *= grazing;
    float puddle = smoothstep(0.45, 0.60, spots.b);
    float mirror = WET * gloss * (0.04 + 0.42 * grazing) * (0.35 + 1.0 * puddle);
    color = mix(color * (1.0 - 0.55 * WET), mix(HORIZON, ZENITH, 0.3) + LAMP * (spots.g * LAMPS * 0.5), mirror);
#endif
    return color;
}
vec3 spots_here() { return texture(ground_map, (v_world.xy - MAP.xy) * MAP.zw).rgb; }
"""

FRAGMENTS = {
    "grass": """
void main() {
    vec3 spots = spots_here();
    vec2 c = fract(v_world.xy * 0.37) - 0.5;
    emit(lit(v_tint * (0.75 + 0.5 * spots.b + 0.3 * c.x * c.y), spots, 0.15), v_depth, 0.0);
}""",
    # data: s, distance from the left edge, lane width, left marking + 8 * right marking
    # (0 none, 1 broken, 2 solid, 3 double; +4 yellow)
    "road": """
float line(float kind, float edge, float w, float dashed) {
    float single = band(edge, -1.0, 0.10, w);
    float twin = band(edge, 0.07, 0.19, w);
    return kind > 2.5 ? twin : (kind > 1.5 ? single : (kind > 0.5 ? single * dashed : 0.0));
}
void main() {
    vec3 spots = spots_here();
    float w = max(fwidth(v_data.y), 1e-4);
    float dashed = dashes(v_data.x, 3.0, 6.0, max(fwidth(v_data.x), 1e-3));
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
    vec3 albedo = mix(v_tint * (0.82 + 0.36 * spots.b), vec3(0.80), paint * (0.85 + 0.15 * spots.b));
    emit(lit(albedo, spots, 0.9), v_depth, 0.0);
}""",
    "paving": """
void main() {
    vec3 spots = spots_here();
    vec2 w = max(fwidth(v_world.xy), vec2(1e-3));
    float joint = max(dashes(v_world.x, 0.05, 1.2, w.x), dashes(v_world.y, 0.05, 1.2, w.y)) * v_data.x;
    emit(lit(v_tint * (0.88 + 0.24 * spots.b) * (1.0 - 0.45 * joint), spots, 0.6), v_depth, 0.0);
}""",
}
