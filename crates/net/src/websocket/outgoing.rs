//! Outgoing bytes: they collect, and become one masked frame when the frame before them has left.

use std::io::{self, Write};

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use zeroize::Zeroizing;

use crate::Stream;
use crate::tcp::UNSENT_LIMIT;
use crate::tls::random;

/// Room for the longest header of a client's frame, before the payload.
const HEADROOM: usize = 14;

/// With its header a frame fits exactly into what a stream takes at once.
const MAX_PAYLOAD: usize = UNSENT_LIMIT - HEADROOM;

/// Room for the first packet, which holds the token: growing would leave a copy of it behind.
const FIRST_CAPACITY: usize = 4 * 1024;

/// What is on its way out.
pub(super) struct Outgoing {
    /// The payload of the next data frame, after `HEADROOM` bytes for its header; or nothing.
    collecting: Zeroizing<Vec<u8>>,
    /// Frames that the stream below is being given.
    leaving: Zeroizing<Vec<u8>>,
    /// How much of `leaving` it has taken.
    sent: usize,
    /// The control frame that goes next.
    control: Option<(Control, Vec<u8>)>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            collecting: Zeroizing::new(Vec::with_capacity(FIRST_CAPACITY)),
            leaving: Zeroizing::new(Vec::new()),
            sent: 0,
            control: None,
        }
    }

    /// Whether anything waits for the stream below.
    pub(super) fn is_waiting(&self) -> bool {
        self.sent < self.leaving.len() || self.control.is_some() || !self.collecting.is_empty()
    }

    /// Takes as many bytes as there is room for.
    pub(super) fn collect(&mut self, bytes: &[u8]) -> usize {
        if self.collecting.is_empty() {
            self.collecting.extend_from_slice(&[0; HEADROOM]);
        }
        let taken = bytes.len().min(HEADROOM + MAX_PAYLOAD - self.collecting.len());
        self.collecting.extend_from_slice(&bytes[..taken]);
        taken
    }

    /// A control frame goes before what is collected. A newer pong takes the place of an older one, and a close that of
    /// any.
    pub(super) fn put_control(&mut self, kind: Control, payload: Vec<u8>) {
        self.control = Some((kind, payload));
    }

    /// Forgets what is not in a frame yet.
    pub(super) fn drop_collected(&mut self) {
        wipe(&mut self.collecting);
    }

    /// Gives everything to the stream below, and flushes that.
    pub(super) fn push(&mut self, below: &mut Stream) -> io::Result<()> {
        loop {
            while self.sent < self.leaving.len() {
                match below.write(&self.leaving[self.sent..])? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    count => self.sent += count,
                }
            }
            if !self.next_frame()? {
                return below.flush();
            }
        }
    }

    /// Makes the next frame of what waits; `false` if nothing does.
    fn next_frame(&mut self) -> io::Result<bool> {
        wipe(&mut self.leaving);
        self.sent = 0;
        if let Some((kind, payload)) = self.control.take() {
            self.leaving.extend_from_slice(&[0; HEADROOM]);
            self.leaving.extend_from_slice(&payload);
            self.seal(OpCode::Control(kind))?;
            return Ok(true);
        }
        if self.collecting.is_empty() {
            return Ok(false);
        }
        std::mem::swap(&mut self.collecting, &mut self.leaving);
        self.seal(OpCode::Data(Data::Binary))?;
        Ok(true)
    }

    /// Puts the header before the payload in `leaving`, and masks the payload.
    fn seal(&mut self, opcode: OpCode) -> io::Result<()> {
        let mask = random::<4>()?;
        let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
        let length = (self.leaving.len() - HEADROOM) as u64;
        self.sent = HEADROOM - header.len(length);
        let (head, payload) = self.leaving.split_at_mut(HEADROOM);
        header.format(length, &mut &mut head[self.sent..]).map_err(io::Error::other)?;
        apply(mask, payload);
        Ok(())
    }
}

/// The buffer held secrets, and serves again.
fn wipe(buffer: &mut Vec<u8>) {
    buffer.fill(0);
    buffer.clear();
}

/// Masks, eight bytes at a time (RFC 6455, 5.3).
fn apply(mask: [u8; 4], payload: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_masked_by_its_place_in_the_payload() {
        let mask = [1, 2, 4, 8];
        for length in 0..40 {
            let mut payload = vec![0; length];
            apply(mask, &mut payload);
            assert!(payload.iter().enumerate().all(|(place, byte)| *byte == mask[place % 4]), "{payload:?}");
        }
    }
}
