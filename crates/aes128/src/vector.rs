//! Sixteen bytes that are worked on at once.

#[cfg(not(target_family = "wasm"))]
pub use scalar::Vector;
#[cfg(target_family = "wasm")]
pub use simd::Vector;

#[cfg(target_family = "wasm")]
mod simd {
    use core::arch::wasm32::{
        i8x16_add, i8x16_lt, i8x16_splat, i8x16_swizzle, u8x16_shr, u8x16_splat, u64x2,
        u64x2_extract_lane, v128, v128_and, v128_xor,
    };

    use crate::plane::REDUCTION;

    /// One vector of WebAssembly.
    #[derive(Clone, Copy)]
    pub struct Vector(v128);

    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "half of it is wanted"
    )]
    #[inline(always)]
    fn low(value: u128) -> u64 {
        value as u64
    }

    impl Vector {
        #[inline(always)]
        pub fn new(bytes: [u8; 16]) -> Self {
            let value = u128::from_le_bytes(bytes);
            Self(u64x2(low(value), low(value >> 64)))
        }

        #[inline(always)]
        pub fn bytes(self) -> [u8; 16] {
            let low = u64x2_extract_lane::<0>(self.0);
            let high = u64x2_extract_lane::<1>(self.0);
            (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
        }

        #[inline(always)]
        pub fn xor(self, other: Self) -> Self {
            Self(v128_xor(self.0, other.0))
        }

        /// The lower half of each byte.
        #[inline(always)]
        pub fn low(self) -> Self {
            Self(v128_and(self.0, u8x16_splat(15)))
        }

        /// The upper half of each byte.
        #[inline(always)]
        pub fn high(self) -> Self {
            Self(u8x16_shr(self.0, 4))
        }

        /// The bytes that `indices` name; zero where one is 16 or more.
        #[inline(always)]
        pub fn pick(self, indices: Self) -> Self {
            Self(i8x16_swizzle(self.0, indices.0))
        }

        /// Twice each byte, in GF(2^8).
        #[inline(always)]
        pub fn double(self) -> Self {
            let overflows = i8x16_lt(self.0, i8x16_splat(0));
            let reduction = v128_and(overflows, u8x16_splat(REDUCTION));
            Self(v128_xor(i8x16_add(self.0, self.0), reduction))
        }
    }
}

/// The same on bytes one by one, for tests.
#[cfg(not(target_family = "wasm"))]
mod scalar {
    use crate::plane::doubled;

    /// Sixteen bytes.
    #[derive(Clone, Copy)]
    pub struct Vector([u8; 16]);

    impl Vector {
        fn with(self, other: Self, work: impl Fn(u8, u8) -> u8) -> Self {
            let mut bytes = self.0;
            for (byte, other) in bytes.iter_mut().zip(other.0) {
                *byte = work(*byte, other);
            }
            Self(bytes)
        }

        pub fn new(bytes: [u8; 16]) -> Self {
            Self(bytes)
        }

        pub fn bytes(self) -> [u8; 16] {
            self.0
        }

        pub fn xor(self, other: Self) -> Self {
            self.with(other, |a, b| a ^ b)
        }

        /// The lower half of each byte.
        pub fn low(self) -> Self {
            Self(self.0.map(|byte| byte & 15))
        }

        /// The upper half of each byte.
        pub fn high(self) -> Self {
            Self(self.0.map(|byte| byte >> 4))
        }

        /// The bytes that `indices` name; zero where one is 16 or more.
        pub fn pick(self, indices: Self) -> Self {
            let at = |index: u8| self.0.get(usize::from(index)).copied();
            Self(indices.0.map(|index| at(index).unwrap_or(0)))
        }

        /// Twice each byte, in GF(2^8).
        pub fn double(self) -> Self {
            Self(self.0.map(doubled))
        }
    }
}
