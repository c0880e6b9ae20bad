//! Keys, and what is done with them.

use std::sync::OnceLock;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::kernel::{Kernel, Operations, Size};
use crate::private::Secrets;
use crate::public::PublicOperation;
use crate::words;

/// The parts of an `RSAPrivateKey` (RFC 8017 appendix A.1.2): big-endian, leading zeros allowed.
#[derive(Clone, Copy)]
pub struct CrtParts<'a> {
    /// The modulus.
    pub n: &'a [u8],
    /// The public exponent.
    pub e: &'a [u8],
    /// The first prime.
    pub p: &'a [u8],
    /// The second prime.
    pub q: &'a [u8],
    /// `d mod (p - 1)`.
    pub dp: &'a [u8],
    /// `d mod (q - 1)`.
    pub dq: &'a [u8],
    /// `1 / q mod p`.
    pub qinv: &'a [u8],
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It may be sound, and another implementation take it: its modulus has neither 1024 nor 2048
    /// bits, its primes do not have half of them each, or its public exponent is longer than 64
    /// bits.
    #[error("a key of a size that is not implemented")]
    Unsupported,
    /// Its parts do not belong together.
    #[error("not a valid RSA key")]
    Invalid,
}

/// Why a private operation has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// The ciphertext does not have the length of the modulus, or is not below it.
    #[error("the ciphertext is out of range")]
    OutOfRange,
    /// No kernel's result gave the ciphertext back under the public exponent: the key is not
    /// consistent, or the host's arithmetic is not to be relied on. Another implementation may
    /// decide.
    #[error("the result of the private operation is not right")]
    Unverified,
}

/// What a private operation gives.
pub struct Decrypted {
    /// `c^d mod n`, big-endian, as long as the modulus.
    pub block: Zeroizing<Vec<u8>>,
    /// Who calculated it.
    pub kernel: Kernel,
}

/// A private key of 1024 or 2048 bits. What depends on the key alone is calculated once, on first
/// use.
pub struct PrivateKey {
    size: Size,
    modulus: Vec<u32>,
    exponent: u64,
    secrets: Secrets,
    fused: OnceLock<Operations>,
    exact: OnceLock<Operations>,
}

impl PrivateKey {
    /// Takes the parts of a key, and calculates none of them anew.
    ///
    /// That the primes are primes, and the exponents right, is not checked here: the result of each
    /// operation is.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn new(parts: &CrtParts<'_>) -> Result<Self, KeyError> {
        let (size, modulus, exponent) = public_parts(parts.n, parts.e)?;
        let half = size.words() / 2;
        let number = |bytes| words::from_be_bytes(bytes, half).ok_or(KeyError::Unsupported);
        let [p, q] = [number(parts.p)?, number(parts.q)?];
        if !(fills(&p) && fills(&q)) {
            return Err(KeyError::Unsupported);
        }
        let mut product = Zeroizing::new(vec![0; size.words()]);
        words::add_product(&mut product, &p, &q);
        let [dp, dq, coefficient] = [number(parts.dp)?, number(parts.dq)?, number(parts.qinv)?];
        let reduced = words::less_than(&dp, &p)
            && words::less_than(&dq, &q)
            && words::less_than(&coefficient, &p);
        if *product != modulus || !reduced {
            return Err(KeyError::Invalid);
        }
        Ok(Self {
            size,
            modulus,
            exponent,
            secrets: Secrets {
                primes: [p, q],
                exponents: [dp, dq],
                coefficient,
            },
            fused: OnceLock::new(),
            exact: OnceLock::new(),
        })
    }

    /// `c^d mod n`, without padding taken off (RSADP, RFC 8017 section 5.1.2).
    ///
    /// The exponents or the base are blinded, and the result is raised to the public exponent again before it
    /// is given out. When that is not the ciphertext, the next kernel calculates.
    ///
    /// # Errors
    /// [`DecryptError`]
    pub fn decrypt(
        &self,
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Decrypted, DecryptError> {
        self.decrypt_with(Kernel::available(), ciphertext, rng)
    }

    /// [`decrypt`](Self::decrypt) by the first of some kernels whose result is right.
    ///
    /// # Errors
    /// [`DecryptError`]
    pub fn decrypt_with(
        &self,
        kernels: &[Kernel],
        ciphertext: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Result<Decrypted, DecryptError> {
        let c = in_range(ciphertext, &self.modulus).ok_or(DecryptError::OutOfRange)?;
        for kernel in kernels {
            let operations = self.operations(*kernel);
            let private = &operations.private;
            let m = private.apply(&self.secrets, &c, self.exponent, rng);
            if *operations.public.apply(&m, self.exponent) == *c {
                return Ok(Decrypted {
                    block: words::to_be_bytes(&m),
                    kernel: *kernel,
                });
            }
            private.forget();
        }
        Err(DecryptError::Unverified)
    }

    fn operations(&self, kernel: Kernel) -> &Operations {
        match kernel {
            Kernel::Fused => &self.fused,
            Kernel::Exact => &self.exact,
        }
        .get_or_init(|| kernel.operations(self.size, &self.modulus, &self.secrets))
    }
}

/// The input does not have the length of the modulus, or is not below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the input is out of range")]
pub struct OutOfRange;

/// A public key of 1024 or 2048 bits.
pub struct PublicKey {
    modulus: Vec<u32>,
    exponent: u64,
    operation: Box<dyn PublicOperation>,
}

impl PublicKey {
    /// Takes modulus and public exponent: big-endian, leading zeros allowed.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn new(n: &[u8], e: &[u8]) -> Result<Self, KeyError> {
        let (size, modulus, exponent) = public_parts(n, e)?;
        let kernel = Kernel::available().first().unwrap_or(&Kernel::Exact);
        Ok(Self {
            operation: kernel.public(size, &modulus),
            modulus,
            exponent,
        })
    }

    /// `x^e mod n`, without padding put on or checked (RSAVP1 and RSAEP, RFC 8017 sections 5.2.2
    /// and 5.1.1). Big-endian, as long as the modulus, like its result.
    ///
    /// # Errors
    /// [`OutOfRange`]
    pub fn apply(&self, x: &[u8]) -> Result<Vec<u8>, OutOfRange> {
        let x = in_range(x, &self.modulus).ok_or(OutOfRange)?;
        let result = self.operation.apply(&x, self.exponent);
        Ok(words::to_be_bytes(&result).to_vec())
    }
}

/// The size, words and exponent of a public key.
fn public_parts(n: &[u8], e: &[u8]) -> Result<(Size, Vec<u32>, u64), KeyError> {
    let zeros = n.iter().take_while(|byte| **byte == 0).count();
    let size = Size::from_bytes(n.len() - zeros).ok_or(KeyError::Unsupported)?;
    let modulus = words::from_be_bytes(n, size.words()).ok_or(KeyError::Unsupported)?;
    if !fills(&modulus) {
        return Err(KeyError::Unsupported);
    }
    let exponent = words::from_be_bytes(e, 2).ok_or(KeyError::Unsupported)?;
    let exponent = exponent
        .iter()
        .rev()
        .fold(0, |sum, word| sum << 32 | u64::from(*word));
    if exponent < 3 || exponent % 2 == 0 || modulus.first().is_none_or(|low| low % 2 == 0) {
        return Err(KeyError::Invalid);
    }
    Ok((size, modulus.to_vec(), exponent))
}

/// Whether a number has the top bit of its words.
fn fills(number: &[u32]) -> bool {
    number.last().is_some_and(|top| top >> 31 == 1)
}

/// The words of an input that has the length of the modulus and is below it.
fn in_range(input: &[u8], modulus: &[u32]) -> Option<Zeroizing<Vec<u32>>> {
    if input.len() != 4 * modulus.len() {
        return None;
    }
    words::from_be_bytes(input, modulus.len()).filter(|words| words::less_than(words, modulus))
}
