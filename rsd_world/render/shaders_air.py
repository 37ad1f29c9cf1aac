"""Shaders of what is not solid: sky, shadows of actors, glow of lamps, rain."""

SKY_VERTEX = """
out vec2 v_at;
void main() {
    project(p3d_Vertex);
    gl_Position.z = gl_Position.w * 0.999999;
    v_at = data.xy;
}
"""

SKY_FRAGMENT = """
uniform sampler2D sky_map;
in vec2 v_at;
void main() {
    o_color = texture(sky_map, v_at);
    o_aux = vec4(1.0, 0.0, 0.0, 1.0);
}
"""

# actor[0]: half length, half width, throw of the shadow x, y in the actor's frame; actor[1]: strength, softness
SHADOW_VERTEX = """
uniform vec4 actor[3];
out vec2 v_at; out float v_depth;
void main() {
    vec2 reach = actor[0].xy + abs(actor[0].zw) * 0.5 + actor[1].yy;
    v_at = p3d_Vertex.xy * reach + actor[0].zw * 0.5;
    project(vec4(v_at, 0.025, 1.0));
    v_depth = gl_Position.w;
}
"""

SHADOW_FRAGMENT = """
uniform vec4 actor[3];
in vec2 v_at; in float v_depth;
float outside(vec2 p) { return length(max(abs(p) - actor[0].xy + 0.25, 0.0)) - 0.25; }
void main() {
    vec2 throw = actor[0].zw;
    float along = clamp(dot(v_at, throw) / (dot(throw, throw) + 1e-6), 0.0, 1.0);
    vec2 near = v_at - clamp(along - 0.2, 0.0, 1.0) * throw, mid = v_at - along * throw;
    vec2 end = v_at - clamp(along + 0.2, 0.0, 1.0) * throw;
    float d = min(min(outside(v_at), outside(v_at - throw)), min(outside(mid), min(outside(near), outside(end))));
    float a = actor[1].x * (1.0 - smoothstep(-0.5 * actor[1].y, actor[1].y, d)) * (1.0 - haze(v_depth));
    o_color = vec4(0.0, 0.0, 0.0, a);
    o_aux = vec4(0.0);
}
"""

# data: corner x, corner y, lamp (0 red, 1 yellow, 2 green, 3 street lamp, 4 headlamp, 5 tail lamp), radius m (negative:
# its mirror image in the wet road below). actor[1]: red or brake, yellow, green, street lamps
HALO_VERTEX = """
uniform mat4 p3d_ModelViewMatrix;
uniform mat4 p3d_ProjectionMatrix;
uniform mat4 p3d_ViewMatrixInverse;
uniform vec4 actor[3];
out vec2 v_at; out vec3 v_color; out float v_depth;
void main() {
    bool mirrored = data.w < 0.0;
    vec4 eye = p3d_ModelViewMatrix * (mirrored ? p3d_Vertex * vec4(1.0, 1.0, -1.0, 1.0) : p3d_Vertex);
    float k = data.z;
    v_color = k < 0.5 ? vec3(1.0, 0.05, 0.03) * actor[1].x : k < 1.5 ? vec3(1.0, 0.6, 0.05) * actor[1].y :
              k < 2.5 ? vec3(0.05, 1.0, 0.4) * actor[1].z : k < 3.5 ? LAMP * actor[1].w :
              k < 4.5 ? HEADLIGHT * LAMPS : vec3(1.0, 0.04, 0.02) * (0.35 * LAMPS + 0.65 * actor[1].x);
    vec3 shine = mat3(p3d_ModelViewMatrix) * p3d_Normal;
    v_color *= clamp(1.0 - dot(p3d_Normal, p3d_Normal) - 1.6 * dot(shine, normalize(eye.xyz)), 0.0, 1.0);
    vec4 lamp = eye;
    eye.xy += data.xy * data.w * (mirrored ? vec2(0.6, 2.2) : vec2(1.0));
    gl_Position = p3d_ProjectionMatrix * eye;
    if (mirrored) {
#ifdef WET_ON
        float eye_height = max((p3d_ViewMatrixInverse * vec4(0.0, 0.0, 0.0, 1.0)).z - EGO_Z, 0.2);
        vec4 surface = p3d_ProjectionMatrix * vec4(lamp.xyz * (eye_height / (eye_height + p3d_Vertex.z)) * 0.985, 1.0);
        gl_Position.z = surface.z / surface.w * gl_Position.w;
        v_color *= 0.75 * WET;
#else
        gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
#endif
    }
    gl_Position.y = -gl_Position.y;
    v_at = data.xy; v_depth = gl_Position.w;
}
"""

HALO_FRAGMENT = """
in vec2 v_at; in vec3 v_color; in float v_depth;
void main() {
    float r = clamp(1.0 - dot(v_at, v_at), 0.0, 1.0);
    o_color = vec4(v_color * (r * r * (0.22 + 0.30 * LAMPS) * (1.0 - haze(0.4 * v_depth))), 0.0);
    o_aux = vec4(0.0);
}
"""

# rain: two ends of a thin streak; data: x, y of the streak, phase 0 .. 1, which corner
STREAK_VERTEX = """
out float v_end;
void main() {
    float z = fract(data.z - TIME * 1.3) * 6.0 - 1.5;
    project(vec4(p3d_Vertex.xy, z + p3d_Vertex.z, 1.0));
    v_end = data.w;
}
"""

STREAK_FRAGMENT = """
in float v_end;
void main() {
    o_color = vec4(sqrt(HORIZON * 1.3) * 0.20 * v_end, 0.20 * v_end);
    o_aux = vec4(0.0);
}
"""
