//! The sums that signatures are verified with, against the `p256` crate.
//!
//! `KEYLET_P256_ROUNDS` is the number of random inputs, 200 without it.

use keylet_kernel::p256::has_x;
use p256::elliptic_curve::Generate;
use p256::elliptic_curve::ops::{MulVartime, Reduce};
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::{AffinePoint, FieldBytes, ProjectivePoint, Scalar};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// `u1`, `u2`, `x`, `y` and `r`.
type Input = [[u8; 32]; 5];

/// `x` of `u1·G + u2·Q` modulo the order, or `None` for the point at infinity.
fn judge(u1: &Scalar, u2: &Scalar, q: &ProjectivePoint) -> Option<[u8; 32]> {
    let sum = ProjectivePoint::GENERATOR.mul_vartime(u1) + q.mul_vartime(u2);
    let point = sum.to_affine().to_sec1_point(false);
    let x = FieldBytes::try_from(&point.x()?[..]).unwrap();
    Some(<Scalar as Reduce<FieldBytes>>::reduce(&x).to_bytes().into())
}

fn input(u1: &Scalar, u2: &Scalar, q: &ProjectivePoint, r: [u8; 32]) -> Input {
    let point = AffinePoint::from(*q).to_sec1_point(false);
    let [x, y] = [point.x(), point.y()].map(|half| half.unwrap()[..].try_into().unwrap());
    [u1.to_bytes().into(), u2.to_bytes().into(), x, y, r]
}

fn ask([u1, u2, x, y, r]: &Input) -> Option<bool> {
    has_x([u1, u2], [x, y], r)
}

/// A sum of random scalars and a random point, and what `x` of it is.
pub fn random(rng: &mut ChaCha20Rng) -> Input {
    let [u1, u2, d] = std::array::from_fn(|_| Scalar::generate_from_rng(rng));
    let q = ProjectivePoint::GENERATOR * d;
    let r = judge(&u1, &u2, &q).unwrap();
    input(&u1, &u2, &q, r)
}

/// Scalars at the ends of windows and of the group, and of few digits.
fn special() -> Vec<Scalar> {
    let small = (0..40_u64).map(Scalar::from);
    let powers = (0..256).map(|exponent: usize| {
        let mut bytes = [0; 32];
        bytes[31 - exponent / 8] = 1 << (exponent % 8);
        <Scalar as Reduce<FieldBytes>>::reduce(&bytes.into())
    });
    let positive: Vec<Scalar> = small.chain(powers.step_by(5)).collect();
    positive
        .iter()
        .flat_map(|scalar| [*scalar, -*scalar])
        .collect()
}

#[test]
fn every_sum_of_special_scalars_is_right_or_not_known() {
    let generator = ProjectivePoint::GENERATOR;
    let other = generator * Scalar::from(0x1234_5678_9abc_u64);
    let scalars = special();
    let mut unknown = 0;
    for (index, u1) in scalars.iter().enumerate() {
        for u2 in scalars.iter().skip(index % 41).step_by(41) {
            for q in [generator, -generator, other] {
                let Some(r) = judge(u1, u2, &q) else {
                    let asked = input(u1, u2, &q, [1; 32]);
                    assert_eq!(ask(&asked), None, "infinity");
                    continue;
                };
                match ask(&input(u1, u2, &q, r)) {
                    Some(is_right) => assert!(is_right, "{u1:?} {u2:?}"),
                    // Multiples of the generator meet themselves on the way; those of another point do not.
                    None => {
                        assert_ne!(q, other, "{u1:?} {u2:?}");
                        unknown += 1;
                    }
                }
                let mut wrong = r;
                wrong[31] ^= 1;
                assert_ne!(ask(&input(u1, u2, &q, wrong)), Some(true), "{u1:?} {u2:?}");
            }
        }
    }
    assert!(unknown > 0, "no sum met itself");
}

#[test]
fn every_random_sum_is_right() {
    let rounds = std::env::var("KEYLET_P256_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    for _ in 0..rounds {
        let mut input = random(&mut rng);
        assert_eq!(ask(&input), Some(true));
        let byte = usize::try_from(rng.next_u32() % 32).unwrap();
        input[4][byte] ^= 1 << (rng.next_u32() % 8);
        assert_ne!(ask(&input), Some(true));
    }
}

#[test]
fn x_above_the_order_is_found_by_its_remainder() {
    // The smallest x of a point that is at least n: r = x - n. Any u1 and u2 with this sum do; Q is the point itself.
    let order = -Scalar::ONE;
    let order_minus_one: [u8; 32] = order.to_bytes().into();
    let mut found = 0;
    for above in 1..40_u8 {
        let mut x = order_minus_one;
        let mut carry = u16::from(above);
        for byte in x.iter_mut().rev() {
            carry += u16::from(*byte);
            *byte = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        let compressed = [&[2][..], &x].concat();
        let Ok(point) = p256::PublicKey::from_sec1_bytes(&compressed) else {
            continue;
        };
        let q = point.to_projective();
        let r = judge(&Scalar::ZERO, &Scalar::ONE, &q).unwrap();
        assert_eq!(r[..16], [0; 16], "it is x - n");
        assert_eq!(ask(&input(&Scalar::ZERO, &Scalar::ONE, &q, r)), Some(true));
        found += 1;
    }
    assert!(found > 5);
}

#[test]
fn coordinates_off_the_curve_and_out_of_range_have_no_answer() {
    let one = [1; 32];
    assert_eq!(has_x([&one, &one], [&[2; 32], &[3; 32]], &one), None);
    assert_eq!(has_x([&one, &one], [&[0xff; 32], &[3; 32]], &one), None);
}
