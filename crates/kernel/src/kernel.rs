//! The kernels: which arithmetic, with how many limbs, for which size of key.

use core::hint::black_box;

use crate::arithmetic::{Split, Whole};
use crate::lanes::{self, Lanes};
use crate::private::{Private, PrivateOperation, Secrets};
use crate::public::{Public, PublicOperation};

/// A way to calculate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Limbs of 46 and 47 bits, by fused multiply-adds. Wrong where the host does not fuse them,
    /// which is found out.
    Fused,
    /// Limbs of 23 and 24 bits: right on every host, and slower.
    Exact,
}

/// The size of a modulus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// 1024 bits.
    Bits1024,
    /// 2048 bits.
    Bits2048,
}

impl Size {
    /// The bytes of a modulus: `None` for a size that has no kernel.
    pub fn from_bytes(bytes: usize) -> Option<Self> {
        match bytes {
            128 => Some(Self::Bits1024),
            256 => Some(Self::Bits2048),
            _ => None,
        }
    }

    /// The 32-bit words of a modulus.
    pub fn words(self) -> usize {
        match self {
            Self::Bits1024 => 32,
            Self::Bits2048 => 64,
        }
    }
}

/// A kernel's operations with one key.
pub struct Operations {
    pub private: Box<dyn PrivateOperation>,
    pub public: Box<dyn PublicOperation>,
}

impl Kernel {
    /// The kernels that this host can be trusted with, the fastest first.
    pub fn available() -> &'static [Self] {
        if fuses::<lanes::Fused>() {
            &[Self::Fused, Self::Exact]
        } else {
            &[Self::Exact]
        }
    }

    /// Makes a key ready.
    pub fn operations(self, size: Size, modulus: &[u32], secrets: &Secrets) -> Operations {
        Operations {
            private: self.private(size, secrets),
            public: self.public(size, modulus),
        }
    }

    /// Makes the primes of a key ready.
    fn private(self, size: Size, secrets: &Secrets) -> Box<dyn PrivateOperation> {
        match (self, size) {
            (Self::Fused, size) => split_private::<lanes::Fused>(size, secrets),
            (_, Size::Bits1024) => Box::new(Private::<Whole<lanes::Plain, 24>, 22>::new(secrets)),
            (_, Size::Bits2048) => Box::new(Private::<Whole<lanes::Plain, 24>, 44>::new(secrets)),
        }
    }

    /// Makes a modulus ready.
    pub fn public(self, size: Size, modulus: &[u32]) -> Box<dyn PublicOperation> {
        match (self, size) {
            (Self::Fused, size) => split_public::<lanes::Fused>(size, modulus),
            (_, Size::Bits1024) => Box::new(Public::<Whole<lanes::Plain, 24>, 44>::new(modulus)),
            (_, Size::Bits2048) => Box::new(Public::<Whole<lanes::Plain, 23>, 90>::new(modulus)),
        }
    }
}

fn split_private<V: Lanes>(size: Size, secrets: &Secrets) -> Box<dyn PrivateOperation> {
    match size {
        Size::Bits1024 => Box::new(Private::<Split<V, 47>, 11>::new(secrets)),
        Size::Bits2048 => Box::new(Private::<Split<V, 47>, 22>::new(secrets)),
    }
}

fn split_public<V: Lanes>(size: Size, modulus: &[u32]) -> Box<dyn PublicOperation> {
    match size {
        Size::Bits1024 => Box::new(Public::<Split<V, 47>, 22>::new(modulus)),
        Size::Bits2048 => Box::new(Public::<Split<V, 46>, 45>::new(modulus)),
    }
}

/// Whether a vector type leaves the product of a multiply-add unrounded, in both lanes.
///
/// The products have bits that a rounded one loses, and what is added leaves nothing else.
pub fn fuses<V: Lanes>() -> bool {
    // (2^b + 1) · (2^b - 1) = 2^2b - 1, and (2^b + 1)^2 = 2^2b + 2^(b+1) + 1.
    [27_u64, 30, 46].into_iter().all(|bits| {
        let power = f64::from_bits((1023 + bits) << 52);
        let [above, below] = [power + 1.0, power - 1.0].map(black_box);
        V::run(|| {
            let differ =
                V::pair(above, below).times_plus(V::pair(below, above), V::splat(-power * power));
            let same =
                V::splat(above).times_plus(V::splat(above), V::splat(-power * power - 2.0 * power));
            black_box(differ.values()) == [-1.0; 2] && black_box(same.values()) == [1.0; 2]
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_fuse_is_found_out() {
        assert!(fuses::<lanes::Fused>());
        assert!(!fuses::<lanes::Plain>());
    }
}
