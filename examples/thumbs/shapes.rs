//! What the sample pictures show: functions from a place to a colour.
//!
//! `y` goes from -1 at the top to 1 at the bottom, `x` as far to both sides as the picture is wide.
//! Colours are red, green, blue from 0 to 1.

use std::f32::consts::{PI, TAU};

type Colour = [f32; 3];

fn mix(a: Colour, b: Colour, t: f32) -> Colour {
    let t = t.clamp(0.0, 1.0);
    [0, 1, 2].map(|n| a[n] + (b[n] - a[n]) * t)
}

fn scale(colour: Colour, factor: f32) -> Colour {
    colour.map(|part| part * factor)
}

fn add(a: Colour, b: Colour) -> Colour {
    [0, 1, 2].map(|n| a[n] + b[n])
}

/// From 0 to 1 while `x` goes from `from` to `to`, smooth at both ends.
fn step(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A palette that goes round once for each 1 of `t`; `phase` shifts its colours against each other.
fn cosine(t: f32, phase: Colour) -> Colour {
    phase.map(|phase| 0.5 + 0.5 * (TAU * (t + phase)).cos())
}

const FIRE: [Colour; 5] = [
    [0.02, 0.01, 0.06],
    [0.35, 0.04, 0.30],
    [0.85, 0.20, 0.18],
    [1.0, 0.65, 0.20],
    [1.0, 0.97, 0.80],
];
const SEA: [Colour; 5] = [
    [0.01, 0.03, 0.10],
    [0.02, 0.20, 0.38],
    [0.05, 0.48, 0.58],
    [0.45, 0.82, 0.76],
    [0.97, 0.99, 0.90],
];
const DUSK: [Colour; 5] = [
    [0.06, 0.05, 0.20],
    [0.32, 0.13, 0.42],
    [0.78, 0.27, 0.42],
    [0.98, 0.58, 0.36],
    [1.0, 0.88, 0.60],
];

/// A colour of a ramp, for `t` from 0 to 1.
fn ramp(colours: &[Colour; 5], t: f32) -> Colour {
    let place = t.clamp(0.0, 1.0) * 3.9999;
    let index = place as usize;
    mix(colours[index], colours[index + 1], place.fract())
}

/// A number from 0 to 1 that is always the same for a place, and tells nothing of it.
fn hash(x: i32, y: i32) -> f32 {
    let mut bits = (x as u32).wrapping_mul(0x9e37_79b1) ^ (y as u32).wrapping_mul(0x85eb_ca77);
    bits = (bits ^ bits >> 15).wrapping_mul(0x2c1b_3c6d);
    bits = (bits ^ bits >> 12).wrapping_mul(0x297a_2d39);
    (bits ^ bits >> 15) as f32 / u32::MAX as f32
}

/// Smooth noise from 0 to 1.
fn noise(x: f32, y: f32) -> f32 {
    let (column, row) = (x.floor() as i32, y.floor() as i32);
    let (right, down) = (step(0.0, 1.0, x - x.floor()), step(0.0, 1.0, y - y.floor()));
    let line = |row| hash(column, row) * (1.0 - right) + hash(column + 1, row) * right;
    line(row) * (1.0 - down) + line(row + 1) * down
}

/// Noise of all sizes, from 0 to 1.
fn clouds(x: f32, y: f32) -> f32 {
    let layer = |n: i32| {
        noise(x * 2_f32.powi(n) + 17.0 * n as f32, y * 2_f32.powi(n)) * 0.5_f32.powi(n + 1)
    };
    (0..6).map(layer).sum()
}

/// How long `z * z + c` stays near, without steps: 1 if for ever.
fn escape(mut z: (f32, f32), c: (f32, f32), fold: bool) -> f32 {
    const MOST: u32 = 220;
    for n in 0..MOST {
        let (x, y) = if fold { (z.0.abs(), z.1.abs()) } else { z };
        z = (x * x - y * y + c.0, 2.0 * x * y + c.1);
        let square = z.0 * z.0 + z.1 * z.1;
        if square > 256.0 {
            return ((n as f32 + 1.0 - square.ln().log2() + 3.0) / MOST as f32).clamp(0.0, 0.999);
        }
    }
    1.0
}

fn fractal(t: f32, colours: impl Fn(f32) -> Colour) -> Colour {
    if t >= 1.0 { [0.01, 0.01, 0.03] } else { colours(t.sqrt()) }
}

pub(super) fn mandelbrot(x: f32, y: f32) -> Colour {
    fractal(escape((0.0, 0.0), (x * 1.2 - 0.6, y * 1.2), false), |t| ramp(&FIRE, t * 2.2))
}

pub(super) fn seahorses(x: f32, y: f32) -> Colour {
    fractal(escape((0.0, 0.0), (x * 0.0026 - 0.7459, y * 0.0026 + 0.1241), false), |t| {
        cosine(t * 1.8, [0.55, 0.65, 0.80])
    })
}

pub(super) fn julia(x: f32, y: f32) -> Colour {
    fractal(escape((x * 1.35, y * 1.35), (-0.8, 0.156), false), |t| ramp(&SEA, t * 1.8))
}

pub(super) fn dragon(x: f32, y: f32) -> Colour {
    fractal(escape((x * 1.25, y * 1.25), (-0.7269, 0.1889), false), |t| ramp(&DUSK, t * 1.4))
}

pub(super) fn ship(x: f32, y: f32) -> Colour {
    fractal(escape((0.0, 0.0), (x * 0.06 - 1.755, y * 0.06 - 0.03), true), |t| {
        ramp(&FIRE, 0.1 + t * 1.5)
    })
}

pub(super) fn newton(x: f32, y: f32) -> Colour {
    let (mut a, mut b) = (x * 1.4, y * 1.4);
    for n in 0..40 {
        // z - (z^3 - 1) / 3 z^2
        let (square, twice) = (a * a - b * b, 2.0 * a * b);
        let size = 3.0 * (square * square + twice * twice).max(1e-12);
        let (next_a, next_b) = (2.0 / 3.0 * a + square / size, 2.0 / 3.0 * b - twice / size);
        let moved = (next_a - a).hypot(next_b - b);
        (a, b) = (next_a, next_b);
        if moved < 1e-3 {
            let root = cosine(b.atan2(a) / TAU + 0.55, [0.0, 0.22, 0.42]);
            return scale(root, 0.35 + 0.75 * 0.90_f32.powi(n));
        }
    }
    [0.0; 3]
}

pub(super) fn carpet(x: f32, y: f32) -> Colour {
    let (mut a, mut b) = (x * 0.5 + 0.5, y * 0.5 + 0.5);
    for depth in 0..5 {
        (a, b) = (a * 3.0, b * 3.0);
        if a.rem_euclid(3.0) as i32 == 1 && b.rem_euclid(3.0) as i32 == 1 {
            return ramp(&DUSK, 0.95 - 0.17 * depth as f32);
        }
    }
    [0.05, 0.05, 0.14]
}

pub(super) fn sunset(x: f32, y: f32) -> Colour {
    let sun = x.hypot(y - 0.15);
    let glow =
        add(ramp(&DUSK, (y + 1.0) * 0.62), scale([1.0, 0.55, 0.25], 0.35 * (-3.0 * sun).exp()));
    let sky = mix([1.0, 0.93, 0.70], glow, step(0.30, 0.32, sun));
    if y < 0.35 {
        return sky;
    }
    let depth = (y - 0.35) / 0.65;
    let wave = (depth.powf(0.5) * 60.0 + 3.0 * noise(x * 6.0, y * 30.0)).sin() * 0.5 + 0.5;
    let lane = (-(x / (0.22 + 0.25 * depth)).powi(2)).exp();
    add(
        mix([0.30, 0.12, 0.34], [0.05, 0.04, 0.16], depth),
        scale([1.0, 0.62, 0.35], lane * wave * 0.9),
    )
}

pub(super) fn ridges(x: f32, y: f32) -> Colour {
    let mut colour = mix([0.98, 0.80, 0.66], [0.55, 0.70, 0.86], (0.3 - y) * 0.9);
    for layer in 0..6 {
        let n = layer as f32;
        let ridge =
            -0.25 + 0.22 * n - 0.55 * (clouds(x * (1.0 + 0.15 * n) + 31.0 * n, 7.0 * n) - 0.5);
        colour = mix(
            colour,
            mix([0.62, 0.66, 0.80], [0.05, 0.10, 0.20], n / 5.0),
            step(0.0, 0.008, y - ridge),
        );
    }
    colour
}

pub(super) fn aurora(x: f32, y: f32) -> Colour {
    let mut colour = mix([0.01, 0.02, 0.07], [0.03, 0.10, 0.16], (y + 1.0) / 2.0);
    let star = hash((x * 180.0) as i32, (y * 180.0) as i32);
    colour = add(colour, [step(0.997, 1.0, star); 3]);
    for n in 0..3 {
        let n = n as f32;
        let fold = -0.15 + 0.28 * n + 0.5 * (clouds(x * 1.1 + 9.0 * n, 3.0 * n) - 0.5);
        let height = fold - y;
        let light = step(-0.03, 0.05, height)
            * (-2.6 * height.max(0.0)).exp()
            * (0.45 + 0.8 * noise(x * 14.0 + 40.0 * n, n));
        colour = add(
            colour,
            scale(mix([0.15, 0.95, 0.55], [0.50, 0.25, 0.95], height * 1.3), light * 0.75),
        );
    }
    let trees = 0.86 - 0.10 * noise(x * 30.0, 3.0) - 0.08 * clouds(x * 3.0, 8.0);
    mix(colour, [0.0, 0.01, 0.02], step(0.0, 0.01, y - trees))
}

pub(super) fn nebula(x: f32, y: f32) -> Colour {
    let warp = clouds(x * 1.5 + 5.0, y * 1.5);
    let gas = clouds(x * 2.0 + 2.5 * warp, y * 2.0 - 1.5 * warp);
    let star = step(0.9965, 1.0, hash((x * 150.0) as i32 + 9, (y * 150.0) as i32));
    let tint = mix([0.10, 0.25, 0.70], [0.95, 0.30, 0.45], warp * 1.6 - 0.3);
    add(
        add(
            scale(tint, step(0.35, 0.85, gas) * 1.3),
            scale([1.0, 0.8, 0.6], step(0.62, 0.85, gas) * 0.7),
        ),
        [star; 3],
    )
}

pub(super) fn galaxy(x: f32, y: f32) -> Colour {
    let (x, y) = (x * 0.9 + y * 0.3, y * 1.7 - x * 0.5);
    let radius = x.hypot(y);
    let arm = (2.0 * y.atan2(x) + 7.0 * (radius + 0.05).ln()).cos() * 0.5 + 0.5;
    let dust = clouds(x * 4.0 + 3.0, y * 4.0);
    let disc = (-2.4 * radius).exp() * (0.25 + 1.2 * arm * arm * (0.4 + dust));
    let star = step(0.996, 1.0, hash((x * 140.0) as i32, (y * 140.0) as i32 + 5));
    let core = (-9.0 * radius).exp() * 1.5;
    add(
        add(scale([0.45, 0.60, 1.0], disc * 1.4), scale([1.0, 0.80, 0.50], core + disc * 0.4)),
        [star * 0.8; 3],
    )
}

pub(super) fn eclipse(x: f32, y: f32) -> Colour {
    let (radius, angle) = (x.hypot(y), y.atan2(x));
    let rays = 0.6 + 0.4 * noise(angle * 5.0 + 20.0, 1.0) + 0.3 * noise(angle * 17.0 + 60.0, 2.0);
    let corona = (-4.5 * (radius - 0.42).max(0.0)).exp() * rays;
    let ring = (-90.0 * (radius - 0.42).abs()).exp();
    let bead = 0.03 / ((x - 0.30).hypot(y + 0.30) + 0.012);
    let light = step(0.41, 0.43, radius);
    let glow = add(scale([1.0, 0.85, 0.65], corona * light), [ring; 3]);
    add(add(glow, scale([1.0, 0.9, 0.8], bead * bead * 0.4)), [0.01, 0.01, 0.03])
}

pub(super) fn moon(x: f32, y: f32) -> Colour {
    let depth = (1.0 - x * x - y * y).max(0.0).sqrt();
    let seas = step(0.45, 0.62, clouds(x * 1.6 + 3.0, y * 1.6 + 8.0));
    let rough = 0.85 + 0.3 * (clouds(x * 9.0, y * 9.0) - 0.5);
    let light = (0.75 * depth - 0.60 * x - 0.25 * y).max(0.0).powf(0.8);
    scale(mix([0.93, 0.91, 0.86], [0.52, 0.52, 0.55], seas), light * rough + 0.015)
}

pub(super) fn planet(x: f32, y: f32) -> Colour {
    let depth = (1.0 - x * x - y * y).max(0.0).sqrt();
    let (turned, tilt) = (y + 0.25 * x, x - 0.25 * y);
    let band = (turned * 9.0 + 1.6 * clouds(tilt * 2.0 + 4.0, turned * 7.0)).sin() * 0.5 + 0.5;
    let spot = step(0.24, 0.16, ((tilt - 0.25) * 0.7).hypot(turned - 0.32));
    let surface = mix(ramp(&DUSK, 0.45 + 0.5 * band), [0.75, 0.25, 0.18], spot * 0.8);
    scale(surface, (0.9 * depth - 0.45 * x - 0.35 * y).max(0.03))
}

pub(super) fn bokeh(x: f32, y: f32) -> Colour {
    let mut colour = mix([0.02, 0.03, 0.10], [0.14, 0.04, 0.16], (y + 1.0) / 2.0);
    for n in 0..46 {
        let at = |k| hash(n, k);
        let radius = 0.08 + 0.16 * at(3);
        let far = (x - (at(1) * 3.4 - 1.7)).hypot(y - (at(2) * 2.2 - 1.1));
        if far > radius {
            continue;
        }
        let light =
            step(radius, radius - 0.02, far) * (0.5 + 0.5 * step(radius * 0.6, radius, far));
        colour = add(
            colour,
            scale(cosine(at(4) * 0.4 + 0.02, [0.0, 0.75, 0.55]), light * (0.12 + 0.25 * at(5))),
        );
    }
    colour
}

pub(super) fn plasma(x: f32, y: f32) -> Colour {
    let wave = (x * 4.0).sin()
        + (y * 3.0 + x * 2.0).sin()
        + (x.hypot(y) * 7.0).sin()
        + ((x - 1.0).hypot(y + 0.6) * 5.0).sin();
    cosine(wave * 0.16, [0.0, 0.33, 0.62])
}

pub(super) fn ripples(x: f32, y: f32) -> Colour {
    let wave =
        |a: f32, b: f32| ((x - a).hypot(y - b) * 34.0).sin() / (1.0 + 1.5 * (x - a).hypot(y - b));
    ramp(&SEA, 0.42 + 0.30 * (wave(-0.6, -0.3) + wave(0.7, 0.35)))
}

pub(super) fn marble(x: f32, y: f32) -> Colour {
    let vein = ((x * 2.0 + y + 5.0 * clouds(x * 1.4 + 8.0, y * 1.4)) * 3.0).sin().abs();
    mix([0.10, 0.20, 0.22], [0.93, 0.95, 0.92], vein.powf(0.45))
}

pub(super) fn mosaic(x: f32, y: f32) -> Colour {
    let (x, y) = (x * 5.0 + 40.0, y * 5.0 + 40.0);
    let (mut near, mut second, mut cell) = (9.0_f32, 9.0_f32, 0.0);
    for (column, row) in
        (-1..=1).flat_map(|column| (-1..=1).map(move |row| (x as i32 + column, y as i32 + row)))
    {
        let far =
            (x - column as f32 - hash(column, row)).hypot(y - row as f32 - hash(row, column + 99));
        if far < near {
            (second, near, cell) = (near, far, hash(column + 5, row + 3));
        } else {
            second = second.min(far);
        }
    }
    scale(
        mix(
            ramp(&SEA, 0.15 + 0.75 * cell),
            ramp(&DUSK, cell),
            step(0.55, 0.60, hash((cell * 1e6) as i32, 1)),
        ),
        step(0.02, 0.09, second - near),
    )
}

pub(super) fn truchet(x: f32, y: f32) -> Colour {
    let (x, y) = (x * 4.0 + 20.0, y * 4.0 + 20.0);
    let (mut a, b) = (x.fract(), y.fract());
    if hash(x as i32, y as i32) < 0.5 {
        a = 1.0 - a;
    }
    let far = (a.hypot(b) - 0.5).abs().min(((1.0 - a).hypot(1.0 - b) - 0.5).abs());
    let tube = step(0.20, 0.17, far);
    mix(
        [0.07, 0.09, 0.16],
        scale(ramp(&FIRE, 0.45 + 0.05 * (x - y + 6.0)), 1.0 - 8.0 * far * far),
        tube,
    )
}

pub(super) fn hexagons(x: f32, y: f32) -> Colour {
    const TALL: f32 = 1.732_050_8;
    let (x, y) = (x * 4.5 + 30.0, y * 4.5 + 30.0 * TALL);
    let place = |shift: f32| {
        let (a, b) = (
            (x + 0.5 * shift).floor() + 0.5 - 0.5 * shift,
            ((y / TALL + 0.5 * shift).floor() + 0.5 - 0.5 * shift) * TALL,
        );
        (x - a, y - b, a, b)
    };
    let (one, two) = (place(0.0), place(1.0));
    let (a, b, column, row) = if one.0.hypot(one.1) < two.0.hypot(two.1) { one } else { two };
    let edge = 0.5 - a.abs().max(a.abs() * 0.5 + b.abs() * TALL / 2.0);
    let shade = hash((column * 2.0) as i32, (row * 4.0) as i32);
    scale(
        cosine(0.10 * shade + 0.02 * (column - row * 0.5), [0.50, 0.62, 0.72]),
        step(0.02, 0.07, edge) * (0.55 + 0.45 * shade),
    )
}

pub(super) fn weave(x: f32, y: f32) -> Colour {
    let (a, b) = (x * 6.0 + 60.0, y * 6.0 + 60.0);
    let over = (a as i32 + b as i32) % 2 == 0;
    let (across, along) = if over { (b.fract(), a.fract()) } else { (a.fract(), b.fract()) };
    let round = (PI * across).sin().powf(0.6) * (0.55 + 0.45 * (PI * along).sin());
    let edge = step(0.04, 0.10, across.min(1.0 - across));
    scale(if over { [0.90, 0.68, 0.36] } else { [0.20, 0.42, 0.52] }, round * edge + 0.04)
}

pub(super) fn tunnel(x: f32, y: f32) -> Colour {
    let (radius, angle) = (x.hypot(y).max(1e-3), y.atan2(x));
    let checked = ((8.0 * angle / PI + 2.0 / radius).floor() + (3.0 / radius).floor()) as i32;
    let light = step(0.02, 0.95, radius);
    let colour = if checked.rem_euclid(2) == 0 { [0.98, 0.36, 0.42] } else { [0.13, 0.12, 0.32] };
    add(scale(colour, light), scale([0.4, 0.7, 1.0], (-7.0 * radius).exp()))
}

pub(super) fn moire(x: f32, y: f32) -> Colour {
    let rings = |a: f32| ((x - a).hypot(y) * 60.0).sin() > 0.0;
    if rings(-0.22) ^ rings(0.22) { [0.96, 0.94, 0.88] } else { [0.13, 0.20, 0.42] }
}

pub(super) fn wheel(x: f32, y: f32) -> Colour {
    let (radius, angle) = (x.hypot(y), y.atan2(x) / TAU);
    let hue = [0.0, 2.0 / 3.0, 1.0 / 3.0].map(|shift: f32| {
        (((angle + shift).rem_euclid(1.0) * 6.0 - 3.0).abs() - 1.0).clamp(0.0, 1.0)
    });
    mix([1.0; 3], hue, radius * 1.1)
}

pub(super) fn dots(x: f32, y: f32) -> Colour {
    let (a, b) = (x * 7.0 + y * 7.0, y * 7.0 - x * 7.0);
    let far = (a - a.round()).hypot(b - b.round());
    mix([0.98, 0.93, 0.84], [0.86, 0.24, 0.30], step(0.02, -0.02, far - 0.12 - 0.15 * (y + 1.0)))
}

/// In few colours, for the format that knows only runs.
pub(super) fn rainbow(x: f32, y: f32) -> Colour {
    let radius = x.hypot(y - 0.85);
    let stripe = ((1.45 - radius) / 0.11).floor();
    if (0.0..7.0).contains(&stripe) {
        return cosine(stripe / 8.5, [0.0, 0.67, 0.33]);
    }
    if y > 0.62 { [0.20, 0.45, 0.28] } else { [0.72, 0.87, 0.95] }
}

/// In few colours, too.
pub(super) fn target(x: f32, y: f32) -> Colour {
    match (x.hypot(y) * 6.0) as i32 {
        0 => [0.98, 0.80, 0.25],
        1 | 3 | 5 => [0.88, 0.22, 0.27],
        2 | 4 => [0.97, 0.96, 0.93],
        _ => [0.12, 0.20, 0.33],
    }
}
