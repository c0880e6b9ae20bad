//! A request body as a host hands it over, in pieces.

use std::ops::ControlFlow;

/// The largest request body, in bytes.
pub const MAX_BODY: usize = 256 * 1024;

/// How much of a body that is too large is read all the same, in bytes. A client that is still
/// sending when its connection closes does not read the refusal.
const MAX_SKIPPED: usize = 16 * MAX_BODY;

/// Collects a request body. Of one that is too large it keeps just enough to be refused.
#[derive(Default)]
pub struct IncomingBody {
    bytes: Vec<u8>,
    skipped: usize,
}

impl IncomingBody {
    /// Takes the next piece, and says whether to read on.
    pub fn push(&mut self, piece: &[u8]) -> ControlFlow<()> {
        let room = (MAX_BODY + 1).saturating_sub(self.bytes.len());
        let (kept, rest) = piece.split_at_checked(room).unwrap_or((piece, &[]));
        self.bytes.extend_from_slice(kept);
        self.skipped = self.skipped.saturating_add(rest.len());
        if self.skipped > MAX_SKIPPED {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// The body, at most one byte longer than [`MAX_BODY`].
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_kept_whole_up_to_the_limit() {
        let mut body = IncomingBody::default();
        for _ in 0..4 {
            assert!(body.push(&vec![7; MAX_BODY / 4]).is_continue());
        }
        assert_eq!(body.into_bytes().len(), MAX_BODY);
    }

    #[test]
    fn of_a_larger_body_one_byte_more_is_kept_and_the_rest_skipped_for_a_while() {
        let mut body = IncomingBody::default();
        let pieces = (0..)
            .take_while(|_| body.push(&vec![7; MAX_BODY]).is_continue())
            .count();
        assert_eq!(pieces, 17);
        assert_eq!(body.into_bytes().len(), MAX_BODY + 1);
    }
}
