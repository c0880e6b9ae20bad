//! Two `f64` side by side: one vector type for each way in which a host multiplies and adds.

/// Two lanes of `f64`. Every operation is IEEE 754 binary64, rounded to nearest.
pub trait Lanes: Copy + Send + Sync + 'static {
    /// The lanes from their values.
    fn pair(first: f64, second: f64) -> Self;

    /// The values of the lanes.
    fn values(self) -> [f64; 2];

    /// `self + other`.
    fn plus(self, other: Self) -> Self;

    /// `self - other`.
    fn minus(self, other: Self) -> Self;

    /// `self * other`.
    fn times(self, other: Self) -> Self;

    /// `self * factor + addend`. The types differ in whether the product is rounded before the sum:
    /// [`crate::arithmetic::Split`] needs a type that does not round it,
    /// [`crate::arithmetic::Whole`] is exact with any.
    fn times_plus(self, factor: Self, addend: Self) -> Self;

    /// The first lane of each.
    fn firsts(self, other: Self) -> Self;

    /// The second lane of each.
    fn seconds(self, other: Self) -> Self;

    /// The first lane of this one, and the second of the other.
    fn first_second(self, other: Self) -> Self;

    /// The lanes the other way round.
    fn swapped(self) -> Self;

    /// Runs `work` where the compiler may use the instructions of this type.
    fn run<R>(work: impl FnOnce() -> R) -> R {
        work()
    }

    /// Both lanes with one value.
    #[inline(always)]
    fn splat(value: f64) -> Self {
        Self::pair(value, value)
    }
}

#[cfg(target_arch = "wasm32")]
pub use wasm::Plain;
// A build without relaxed instructions is one for a host that does not fuse.
#[cfg(all(target_arch = "wasm32", not(feature = "relaxed-simd")))]
pub use wasm::Plain as Fused;
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
pub use wasm::Relaxed as Fused;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{Fused, Plain};

#[cfg(target_arch = "wasm32")]
mod wasm {
    use core::arch::wasm32::{
        f64x2, f64x2_add, f64x2_extract_lane, f64x2_mul, f64x2_sub, i64x2_shuffle, v128,
    };

    use super::Lanes;

    macro_rules! lanes {
        ($name:ident, $times_plus:expr) => {
            impl Lanes for $name {
                #[inline(always)]
                fn pair(first: f64, second: f64) -> Self {
                    Self(f64x2(first, second))
                }

                #[inline(always)]
                fn values(self) -> [f64; 2] {
                    [
                        f64x2_extract_lane::<0>(self.0),
                        f64x2_extract_lane::<1>(self.0),
                    ]
                }

                #[inline(always)]
                fn plus(self, other: Self) -> Self {
                    Self(f64x2_add(self.0, other.0))
                }

                #[inline(always)]
                fn minus(self, other: Self) -> Self {
                    Self(f64x2_sub(self.0, other.0))
                }

                #[inline(always)]
                fn times(self, other: Self) -> Self {
                    Self(f64x2_mul(self.0, other.0))
                }

                #[inline(always)]
                fn times_plus(self, factor: Self, addend: Self) -> Self {
                    Self($times_plus(self.0, factor.0, addend.0))
                }

                #[inline(always)]
                fn firsts(self, other: Self) -> Self {
                    Self(i64x2_shuffle::<0, 2>(self.0, other.0))
                }

                #[inline(always)]
                fn seconds(self, other: Self) -> Self {
                    Self(i64x2_shuffle::<1, 3>(self.0, other.0))
                }

                #[inline(always)]
                fn first_second(self, other: Self) -> Self {
                    Self(i64x2_shuffle::<0, 3>(self.0, other.0))
                }

                #[inline(always)]
                fn swapped(self) -> Self {
                    Self(i64x2_shuffle::<1, 0>(self.0, self.0))
                }
            }
        };
    }

    /// `simd128`: the product is rounded before the sum.
    #[derive(Clone, Copy)]
    pub struct Plain(v128);

    lanes!(Plain, |a, b, c| f64x2_add(f64x2_mul(a, b), c));

    /// `relaxed-simd`: whether the product is rounded is the host's choice.
    #[cfg(feature = "relaxed-simd")]
    #[derive(Clone, Copy)]
    pub struct Relaxed(v128);

    #[cfg(feature = "relaxed-simd")]
    lanes!(Relaxed, |a, b, c| {
        core::arch::wasm32::f64x2_relaxed_madd(a, b, c)
    });
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::Lanes;

    macro_rules! lanes {
        ($name:ident, $times_plus:expr $(, $run:path)?) => {
            impl Lanes for $name {
                #[inline(always)]
                fn pair(first: f64, second: f64) -> Self {
                    Self([first, second])
                }

                #[inline(always)]
                fn values(self) -> [f64; 2] {
                    self.0
                }

                #[inline(always)]
                fn plus(self, Self([c, d]): Self) -> Self {
                    let Self([a, b]) = self;
                    Self([a + c, b + d])
                }

                #[inline(always)]
                fn minus(self, Self([c, d]): Self) -> Self {
                    let Self([a, b]) = self;
                    Self([a - c, b - d])
                }

                #[inline(always)]
                fn times(self, Self([c, d]): Self) -> Self {
                    let Self([a, b]) = self;
                    Self([a * c, b * d])
                }

                #[inline(always)]
                fn times_plus(self, Self([c, d]): Self, Self([e, f]): Self) -> Self {
                    let Self([a, b]) = self;
                    Self([$times_plus(a, c, e), $times_plus(b, d, f)])
                }

                #[inline(always)]
                fn firsts(self, Self([c, _]): Self) -> Self {
                    Self([self.0[0], c])
                }

                #[inline(always)]
                fn seconds(self, Self([_, d]): Self) -> Self {
                    Self([self.0[1], d])
                }

                #[inline(always)]
                fn first_second(self, Self([_, d]): Self) -> Self {
                    Self([self.0[0], d])
                }

                #[inline(always)]
                fn swapped(self) -> Self {
                    let Self([a, b]) = self;
                    Self([b, a])
                }

                $(#[inline(always)]
                fn run<R>(work: impl FnOnce() -> R) -> R {
                    $run(work)
                })?
            }
        };
    }

    /// The product is rounded before the sum.
    #[derive(Clone, Copy)]
    pub struct Plain([f64; 2]);

    lanes!(Plain, |a: f64, b: f64, c: f64| a * b + c);

    /// Fused multiply-add: [`f64::mul_add`], which is one instruction where the processor has it
    /// and a call that is just as exact where it has not.
    #[derive(Clone, Copy)]
    pub struct Fused([f64; 2]);

    lanes!(Fused, f64::mul_add, with_fma);

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn with_fma<R>(work: impl FnOnce() -> R) -> R {
        #[target_feature(enable = "fma")]
        fn compiled_for_fma<R>(work: impl FnOnce() -> R) -> R {
            work()
        }

        if std::arch::is_x86_feature_detected!("fma") {
            #[expect(unsafe_code, reason = "how a processor's instructions are reached")]
            // SAFETY: the processor has the instructions that the function is compiled for.
            unsafe {
                compiled_for_fma(work)
            }
        } else {
            work()
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn with_fma<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}
