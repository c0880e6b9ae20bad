//! What a signature of ECDSA on P-256 is verified with: `u1·G + u2·Q` (FIPS 186-5 section 6.4.2; the curve is in
//! SP 800-186 section 3.2.1.3). Everything here is public, and the time depends on all of it.
//!
//! The two lanes of a vector take part in one addition or doubling: the multiplications of the formulas are done two
//! at a time, so that a doubling takes four steps and an addition seven. Points have Jacobian coordinates
//! (`x = X / Z²`, `y = Y / Z³`), in Montgomery's form; the formulas are those of Bernstein and Lange for `a = -3`.
//!
//! They are wrong for a point that is added to itself or to its negative: both have the same `x`, and `Z` of the
//! result is zero. Then `Z` of all that follows is zero. So are the point at infinity and a point added to it. Where `Z` is zero
//! at the end, or the result is not on the curve, there is no answer, and the caller asks another implementation.
//!
//! # Sizes
//!
//! With 6 limbs of 47 bits, `R` is `2^26` times the modulus: the product of factors below 16 moduli is below one
//! modulus. [`Split`] allows limbs of a product to be unsettled: with factors whose limbs are sums of `a` and of `b`
//! settled limbs, a column is below `6 · (a·b + 1) · 2^92 · (1 + 2^-13)`, which must be below `2^98`; so `a·b` may be 9. What
//! is left of a product is at most `2^46` for any factors. The number of such limbs stands beside each factor below.

use zeroize::Zeroizing;

use crate::arithmetic::Split;
use crate::kernel::fuses;
use crate::lanes::{self, Lanes};
use crate::limbs;
use crate::montgomery::{Columns, Modulus, columns, multiply, number, settle, square};
use crate::simd::simd;
use crate::words;

/// Limbs of a number.
const LIMBS: usize = 6;

type Arithmetic<V> = Split<V, 47>;

/// A field element in each lane.
type Number<V> = [V; LIMBS];

/// The prime of the field, least significant word first.
const PRIME: [u32; 8] = [
    0xffff_ffff,
    0xffff_ffff,
    0xffff_ffff,
    0,
    0,
    0,
    1,
    0xffff_ffff,
];

/// The order of the group.
const ORDER: [u32; 8] = [
    0xfc63_2551,
    0xf3b9_cac2,
    0xa717_9e84,
    0xbce6_faad,
    0xffff_ffff,
    0xffff_ffff,
    0,
    0xffff_ffff,
];

/// `b` of the curve's equation `y² = x³ - 3·x + b`.
const B: [u32; 8] = [
    0x27d2_604b,
    0x3bce_3c3e,
    0xcc53_b0f6,
    0x651d_06b0,
    0x7698_86bc,
    0xb3eb_bd55,
    0xaa3a_93e7,
    0x5ac6_35d8,
];

/// The width of the windows on the scalar of the generator.
const GENERATOR_WINDOW: usize = 6;

/// The same for the scalar of the other point, whose multiples have to be made.
const POINT_WINDOW: usize = 5;

/// `x` and `y` of `G`, `3·G`, `5·G` and so on.
#[rustfmt::skip]
const ODD_MULTIPLES: [[[u32; 8]; 2]; 16] = [
    [[0xd898_c296, 0xf4a1_3945, 0x2deb_33a0, 0x7703_7d81, 0x63a4_40f2, 0xf8bc_e6e5, 0xe12c_4247, 0x6b17_d1f2], [0x37bf_51f5, 0xcbb6_4068, 0x6b31_5ece, 0x2bce_3357, 0x7c0f_9e16, 0x8ee7_eb4a, 0xfe1a_7f9b, 0x4fe3_42e2]],
    [[0xc6e7_fd6c, 0xfb41_661b, 0xefad_a985, 0xe6c6_b721, 0x1d4b_f165, 0xc8f7_ef95, 0xa633_0a44, 0x5ecb_e4d1], [0xa27d_5032, 0x9a79_b127, 0x384f_b83d, 0xd82a_b036, 0x1a64_a2ec, 0x374b_06ce, 0x4998_ff7e, 0x8734_640c]],
    [[0xc3d0_33ed, 0x2155_4a0d, 0x1f5b_e524, 0xef8c_82fd, 0x0866_8fdf, 0xd784_c856, 0x5151_40d2, 0x5159_0b7a], [0xfda1_6da4, 0xd1d0_bb44, 0xd4d8_0888, 0x0d01_2f00, 0xbf8a_7926, 0x8ae1_bf36, 0x904a_727d, 0xe0c1_7da8]],
    [[0x3187_b2a3, 0x3006_2870, 0xa80f_ef5b, 0x7ef9_f8b8, 0x7c01_fb60, 0x25bb_3066, 0xa0bf_7b46, 0x8e53_3b6f], [0xc1f4_00b4, 0xc55e_1a86, 0xcb04_1b21, 0x53c7_3633, 0xa6f5_9000, 0x6d06_9f83, 0xe033_1836, 0x73eb_1dbd]],
    [[0x9094_9ee0, 0xd79e_8a4b, 0x2c6d_f8b3, 0x9e0a_cb8c, 0x1d71_f872, 0x8789_38d5, 0xfedf_0b71, 0xea68_d7b6], [0x4dd0_48fa, 0xe85a_224a, 0xa4de_823f, 0x4d71_4fea, 0x4a8e_a0c8, 0x8701_4a96, 0x72c9_fce7, 0x2a27_44c9]],
    [[0x74bc_21d1, 0x4333_91d3, 0x2550_48bf, 0x1674_2ed0, 0xb0c2_1cda, 0x0638_379d, 0x883b_4c59, 0x3ed1_13b7], [0xe82a_3740, 0xe2f8_eefc, 0x5e98_89da, 0x090d_04da, 0xa4f4_c68a, 0x24c8_43af, 0xccc4_c8a2, 0x9099_209a]],
    [[0x4607_2c01, 0x98e1_5d9d, 0x65ea_d58a, 0x792e_284b, 0xd85e_e2fc, 0x6180_5df2, 0xe0ac_495a, 0x177c_837a], [0xefc7_bfd8, 0x9c43_bbe2, 0xa1fb_4df3, 0x26ee_14c3, 0xb40f_4e72, 0xa240_91ad, 0x4ebe_a558, 0x63bb_58cd]],
    [[0xe59b_9d5f, 0x6366_8c63, 0xde3a_0ef1, 0xae03_af92, 0x9988_8265, 0xadfb_3789, 0x971a_bae7, 0xf045_4dc6], [0x0d03_4f36, 0x47e5_9cde, 0x75b5_fa3f, 0x2a3b_21ce, 0x1f96_43e6, 0x4e65_94e5, 0x592e_2d1f, 0xb5b9_3ee3]],
    [[0x4738_a73e, 0xba1a_bce3, 0xf0d6_4af8, 0x5fa6_8678, 0x6f75_301a, 0x9c09_84b6, 0xc0f1_cc3a, 0x4777_6904], [0x71f1_fcdc, 0x32f7_87ff, 0x28d5_733f, 0x81b2_8044, 0x7764_8e83, 0x6231_8565, 0xb5b9_5728, 0xaa00_5ee6]],
    [[0xab03_ed83, 0xc1fc_7b74, 0x5788_4895, 0x782c_4522, 0x7108_c507, 0xce39_b7c1, 0x102c_0c25, 0xcb6d_2861], [0x2bce_cdaa, 0xe391_5075, 0x30fa_3e03, 0xa496_716e, 0x0d6d_6ce4, 0x5c35_e710, 0x24d9_ef51, 0x58d7_614b]],
    [[0x6739_9e83, 0xfd76_364e, 0xf42b_1523, 0x3a58_2139, 0xb473_bca5, 0x2e4a_c86e, 0x8663_7c7b, 0x3250_fcf6], [0x71d4_8c09, 0x15de_24a0, 0x3b56_6a82, 0x897c_d3c3, 0x1d7e_b88c, 0x97b3_090d, 0x667d_3593, 0x42e7_c342]],
    [[0x45ca_7896, 0x672e_5730, 0xdf64_a4fe, 0x3c0b_c0a5, 0xd458_3fa6, 0xd28a_3e39, 0x9c26_40d7, 0x0e91_c723], [0x3140_ad55, 0x1380_4654, 0x75e7_a5ae, 0x7e68_8335, 0xb8e0_bd6d, 0x1a22_733b, 0x550d_ba22, 0x5df6_5c3b]],
    [[0xf200_d687, 0x84a4_dc45, 0xb76f_1b24, 0x4165_2fc5, 0x8c07_fa84, 0x85f4_f52d, 0x4b0c_0bb6, 0x3a67_e255], [0x02f7_9324, 0xa9ed_16b3, 0x35a7_618a, 0x8c18_8af7, 0x163a_fb0d, 0x26da_f267, 0x2f1f_cf43, 0x27d0_f187]],
    [[0x3b08_83d1, 0xf2e2_0117, 0x683e_54ab, 0x5763_55bd, 0x4611_f378, 0xdeba_2fac, 0x19d8_0d51, 0x184f_fa58], [0x6090_6e6f, 0x20d2_42c2, 0x63f0_4916, 0x45bd_eccc, 0x26cb_9995, 0xa4c6_d908, 0x6688_f359, 0xc0a6_6e27]],
    [[0x1c78_4def, 0xdedd_693d, 0x88b5_8a41, 0xfd8c_d1c6, 0x9085_3b8c, 0xa7c3_6da0, 0xfa19_5b07, 0xd6d3_3ade], [0x93d1_bca6, 0x550c_1245, 0x4b95_eded, 0x09a1_66ab, 0x558a_5dcb, 0x3f78_245f, 0xee19_5d7e, 0x84aa_ba16]],
    [[0xa1b4_5b8b, 0x3e3f_9aa0, 0x52a9_5b3e, 0xfac9_db7d, 0xa7ae_9aa0, 0xa85d_a026, 0x2dc7_e05d, 0x301d_9e50], [0xa17e_e267, 0xd58d_b6ae, 0x6887_ca61, 0x298d_9ae4, 0x6b01_7d72, 0xe0d2_3c02, 0xb306_1223, 0x6551_b6f6]],
];

/// Two scalars, big-endian.
pub type Scalars<'a> = [&'a [u8; 32]; 2];

/// Whether `x` of `u1·G + u2·Q` is `r` modulo the order of the group, for a `Q` on the curve with these coordinates, all
/// of it big-endian. `None` when it is not known: the host does not fuse multiply-adds, or a sum is one that the
/// formulas are not for.
pub fn has_x(u: Scalars<'_>, q: [&[u8; 32]; 2], r: &[u8; 32]) -> Option<bool> {
    fuses::<lanes::Fused>().then(|| combination_has_x::<lanes::Fused>(u, q, r))?
}

fn combination_has_x<V: Lanes>(u: Scalars<'_>, q: [&[u8; 32]; 2], r: &[u8; 32]) -> Option<bool> {
    let read = |bytes: &[u8; 32]| {
        let number = words::from_be_bytes(bytes, PRIME.len());
        number.filter(|number| words::less_than(number, &PRIME))
    };
    let [x, y] = q;
    let (x, y, r) = (read(x)?, read(y)?, read(r)?);
    let field = Field::<V>::new();
    let sum = V::run(|| combine(&field, u, &constant([&x, &y])))?;

    // r·Z² = X. What is r modulo the order may also be r + n modulo the prime.
    let mut candidates = vec![r.clone()];
    candidates.extend(words::plus(&r, &ORDER).filter(|sum| words::less_than(sum, &PRIME)));
    let is_x = |candidate: &[u32]| {
        let candidate = constant([candidate, candidate]);
        *V::run(|| first_words(&field, &candidate, &sum.z_squared)) == *sum.x
    };
    Some(candidates.iter().any(|candidate| is_x(candidate)))
}

/// A field element in each lane, not in Montgomery's form.
fn constant<V: Lanes>(words: [&[u32]; 2]) -> Number<V> {
    number::<Arithmetic<V>, LIMBS>(words)
}

/// The field of the curve.
struct Field<V: Lanes> {
    modulus: Modulus<Arithmetic<V>, LIMBS>,
    /// 1, not in Montgomery's form: multiplied by it, a number leaves the form.
    one: Number<V>,
}

impl<V: Lanes> Field<V> {
    fn new() -> Self {
        Self {
            modulus: Modulus::new([&PRIME, &PRIME]),
            one: constant([&[1], &[1]]),
        }
    }
}

/// A point, its limbs settled.
#[derive(Clone, Copy)]
struct Point<V> {
    /// `X` in the first lane, `Y` in the second.
    xy: Number<V>,
    /// `Z` in both.
    z: Number<V>,
}

/// A point that is added more than once.
struct Multiple<V> {
    point: Point<V>,
    /// `Z²` in the first lane, `Z³` in the second.
    z_powers: Number<V>,
}

/// `u1·G + u2·Q`, which is a point of the curve.
struct Sum<V: Lanes> {
    /// `X`, not in Montgomery's form.
    x: Zeroizing<Vec<u32>>,
    /// `Z²` in both lanes.
    z_squared: Number<V>,
}

/// The digits of a scalar in the non-adjacent form of this width, least significant first: each is zero, or odd and
/// below `2^(width-1)` in size.
fn digits(scalar: &[u8; 32], width: usize) -> [i8; 257] {
    let bit = |index: usize| -> i8 {
        let byte = scalar.iter().rev().nth(index / 8);
        byte.map_or(0, |byte| i8::from(byte >> (index % 8) & 1 == 1))
    };
    let mut digits = [0; 257];
    let mut carry = 0;
    let mut index = 0;
    while let Some(digit) = digits.get_mut(index) {
        if bit(index) == carry {
            index += 1;
            continue;
        }
        let window = (0..width).fold(carry, |sum, place| sum + (bit(index + place) << place));
        carry = window >> (width - 1);
        *digit = window - (carry << width);
        index += width;
    }
    digits
}

simd! {
/// `u1·G + u2·Q`, for `Q` as it is read.
fn combine<V: Lanes>(field: &Field<V>, u: Scalars<'_>, q: &Number<V>) -> Option<Sum<V>> {
    let columns = &mut columns::<Arithmetic<V>, LIMBS>();
    let one = product(field, columns, &field.one, &field.modulus.square);
    let generators: Vec<Multiple<V>> = ODD_MULTIPLES
        .iter()
        .map(|[x, y]| Multiple {
            point: Point {
                xy: product(field, columns, &constant([x, y]), &field.modulus.square),
                z: one,
            },
            z_powers: one,
        })
        .collect();
    let q = Point {
        xy: product(field, columns, q, &field.modulus.square),
        z: one,
    };
    let points = odd_multiples(field, columns, q);
    let [u1, u2] = u;
    let terms = [
        (digits(u1, GENERATOR_WINDOW), generators),
        (digits(u2, POINT_WINDOW), points),
    ];

    let mut sum: Option<Point<V>> = None;
    for index in (0..257).rev() {
        if let Some(sum) = &mut sum {
            double(field, columns, sum);
        }
        for (digits, multiples) in &terms {
            let digit = digits.get(index).copied().unwrap_or_default();
            let Some(multiple) = multiples.get(usize::from(digit.unsigned_abs() / 2)) else {
                continue;
            };
            if digit == 0 {
                continue;
            }
            let sign = V::pair(1.0, f64::from(digit.signum()));
            let mut xy = multiple.point.xy;
            for limb in &mut xy {
                *limb = limb.times(sign);
            }
            match &mut sum {
                Some(sum) => add(field, columns, sum, multiple, &xy),
                None => sum = Some(Point { xy, z: multiple.point.z }),
            }
        }
    }
    checked(field, columns, &sum?)
}
}

simd! {
/// `P`, `3·P`, `5·P` and so on, for one window.
fn odd_multiples<V: Lanes>(
    field: &Field<V>,
    columns: &mut Columns<Arithmetic<V>, LIMBS>,
    point: Point<V>,
) -> Vec<Multiple<V>> {
    let mut double_point = point;
    double(field, columns, &mut double_point);
    let step = multiple(field, columns, double_point);
    let mut sum = point;
    let mut multiples = vec![multiple(field, columns, sum)];
    while multiples.len() < 1 << (POINT_WINDOW - 2) {
        add(field, columns, &mut sum, &step, &step.point.xy);
        multiples.push(multiple(field, columns, sum));
    }
    multiples
}
}

simd! {
fn multiple<V: Lanes>(
    field: &Field<V>,
    columns: &mut Columns<Arithmetic<V>, LIMBS>,
    point: Point<V>,
) -> Multiple<V> {
    let squared = product(field, columns, &point.z, &point.z);
    let cubed = product(field, columns, &squared, &point.z);
    Multiple {
        point,
        z_powers: first_second(&squared, &cubed),
    }
}
}

simd! {
/// `P = 2·P` ("dbl-2001-b").
fn double<V: Lanes>(
    field: &Field<V>,
    columns: &mut Columns<Arithmetic<V>, LIMBS>,
    point: &mut Point<V>,
) {
    let Point { xy, z } = point;
    // δ = Z², γ = Y²
    let mut delta_gamma = first_second(z, xy);
    square::<Arithmetic<V>, LIMBS>(&field.modulus, columns, &mut delta_gamma);
    // (X - δ)·(X + δ), factors of 2 and 2, and β = X·γ
    let x = firsts(xy, xy);
    let left = zip(&x, &delta_gamma, |x, delta| x.minus(delta.times(V::pair(1.0, 0.0))));
    let right = zip(&x, &delta_gamma, V::plus);
    let mut product_beta = product(field, columns, &left, &first_second(&right, &delta_gamma));
    let beta = seconds(&product_beta, &product_beta);
    // α = 3·(X - δ)·(X + δ)
    for limb in &mut product_beta {
        *limb = limb.times(V::splat(3.0));
    }
    settle::<Arithmetic<V>, LIMBS>(&mut product_beta);
    let alpha = product_beta;
    // α², γ²
    let mut squares = first_second(&alpha, &delta_gamma);
    square::<Arithmetic<V>, LIMBS>(&field.modulus, columns, &mut squares);
    // X = α² - 8·β
    let mut new_x = zip(&squares, &beta, |square, beta| square.minus(beta.times(V::splat(8.0))));
    settle::<Arithmetic<V>, LIMBS>(&mut new_x);
    // α·(4·β - X), factors of 1 and 5, and Z = Y·2·Z, of 1 and 2
    let left = first_second(&alpha, xy);
    let right = zip(&beta, &new_x, |beta, x| beta.times(V::splat(4.0)).minus(x));
    let twice = zip(z, z, V::plus);
    let last = product(field, columns, &left, &first_second(&right, &twice));
    // Y = α·(4·β - X) - 8·γ²
    let gamma_squared = seconds(&squares, &squares);
    let mut new_y = zip(&last, &gamma_squared, |last, square| last.minus(square.times(V::splat(8.0))));
    settle::<Arithmetic<V>, LIMBS>(&mut new_y);
    point.xy = firsts(&new_x, &new_y);
    point.z = seconds(&last, &last);
}
}

simd! {
/// `P = P + M`, where `M` has these `X` and `Y` ("add-2007-bl" without doublings).
fn add<V: Lanes>(
    field: &Field<V>,
    columns: &mut Columns<Arithmetic<V>, LIMBS>,
    point: &mut Point<V>,
    multiple: &Multiple<V>,
    xy2: &Number<V>,
) {
    let Point { xy: xy1, z: z1 } = point;
    let Multiple { point: Point { z: z2, .. }, z_powers } = multiple;
    // Z1², Z1·Z2
    let z = product(field, columns, z1, &first_second(z1, z2));
    // U1 = X1·Z2², U2 = X2·Z1²
    let u = product(field, columns, &firsts(xy1, xy2), &firsts(z_powers, &z));
    // S1 = Y1·Z2³, Y2·Z1
    let s = product(field, columns, &seconds(xy1, xy2), &first_second(&swapped(z_powers), z1));
    // H = U2 - U1
    let h = zip(&swapped(&u), &u, V::minus);
    // H², factors of 2 and 2, and S2 = Y2·Z1·Z1²
    let h_squared = product(field, columns, &first_second(&h, &s), &firsts(&h, &z));
    // R = S2 - S1
    let r = zip(&swapped(&h_squared), &s, V::minus);
    // H³, factors of 2 and 1, and V = U1·H²
    let cube_v = product(field, columns, &firsts(&h, &u), &firsts(&h_squared, &h_squared));
    // R², factors of 2 and 2, and Z = Z1·Z2·H, of 1 and 2
    let square_z = product(field, columns, &first_second(&r, &z), &firsts(&r, &h));
    // X = R² - H³ - 2·V
    let v = seconds(&cube_v, &cube_v);
    let mut new_x = zip(&zip(&square_z, &cube_v, V::minus), &zip(&v, &v, V::plus), V::minus);
    settle::<Arithmetic<V>, LIMBS>(&mut new_x);
    // R·(V - X), factors of 2 and 2, and S1·H³
    let right = zip(&v, &new_x, V::minus);
    let last = product(field, columns, &firsts(&r, &s), &firsts(&right, &cube_v));
    // Y = R·(V - X) - S1·H³
    let mut new_y = zip(&last, &swapped(&last), V::minus);
    settle::<Arithmetic<V>, LIMBS>(&mut new_y);
    point.xy = firsts(&new_x, &new_y);
    point.z = seconds(&square_z, &square_z);
}
}

simd! {
/// What is asked of a sum, if it is a point of the curve: `Y² = X³ - 3·X·Z⁴ + b·Z⁶`, and `Z` is not zero.
fn checked<V: Lanes>(
    field: &Field<V>,
    columns: &mut Columns<Arithmetic<V>, LIMBS>,
    Point { xy, z }: &Point<V>,
) -> Option<Sum<V>> {
    let (x, y) = (firsts(xy, xy), seconds(xy, xy));
    let b = product(field, columns, &constant([&B, &B]), &field.modulus.square);
    let z_squared = product(field, columns, z, z);
    let z_to_4 = product(field, columns, &z_squared, &z_squared);
    let z_to_6 = product(field, columns, &z_to_4, &z_squared);
    let x_squared = product(field, columns, &x, &x);
    let mut difference = product(field, columns, &y, &y);
    for (term, factor) in [
        (product(field, columns, &x_squared, &x), -1.0),
        (product(field, columns, &x, &z_to_4), 3.0),
        (product(field, columns, &b, &z_to_6), -1.0),
    ] {
        difference = zip(&difference, &term, |sum, term| sum.plus(term.times(V::splat(factor))));
    }
    settle::<Arithmetic<V>, LIMBS>(&mut difference);
    let is_zero = |words: &[u32]| words.iter().all(|word| *word == 0);
    let is_on_curve = is_zero(&first_words(field, &difference, &field.one));
    let is_finite = !is_zero(&first_words(field, z, &field.one));
    (is_on_curve && is_finite).then(|| Sum {
        x: first_words(field, &x, &field.one),
        z_squared,
    })
}
}

simd! {
/// The first lane of a product, of which one factor is in Montgomery's form.
fn first_words<V: Lanes>(field: &Field<V>, a: &Number<V>, b: &Number<V>) -> Zeroizing<Vec<u32>> {
    let columns = &mut columns::<Arithmetic<V>, LIMBS>();
    let product = product(field, columns, a, b);
    limbs::to_words(product.iter().map(|limb| limb.values()[0]), 47, &PRIME)
}
}

simd! {
fn product<V: Lanes>(
    field: &Field<V>,
    columns: &mut Columns<Arithmetic<V>, LIMBS>,
    a: &Number<V>,
    b: &Number<V>,
) -> Number<V> {
    let mut product = *a;
    multiply::<Arithmetic<V>, LIMBS>(&field.modulus, columns, &mut product, b);
    product
}
}

/// Limb by limb.
#[inline(always)]
fn zip<V: Lanes>(a: &Number<V>, b: &Number<V>, combine: impl Fn(V, V) -> V) -> Number<V> {
    let mut result = *a;
    for (result, b) in result.iter_mut().zip(b) {
        *result = combine(*result, *b);
    }
    result
}

/// The first lane of each.
#[inline(always)]
fn firsts<V: Lanes>(a: &Number<V>, b: &Number<V>) -> Number<V> {
    zip(a, b, V::firsts)
}

/// The second lane of each.
#[inline(always)]
fn seconds<V: Lanes>(a: &Number<V>, b: &Number<V>) -> Number<V> {
    zip(a, b, V::seconds)
}

/// The first lane of one, and the second of the other.
#[inline(always)]
fn first_second<V: Lanes>(a: &Number<V>, b: &Number<V>) -> Number<V> {
    zip(a, b, V::first_second)
}

/// The lanes the other way round.
#[inline(always)]
fn swapped<V: Lanes>(a: &Number<V>) -> Number<V> {
    zip(a, a, |a, _| a.swapped())
}
