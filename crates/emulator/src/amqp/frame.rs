//! Bytes to frames and frames to bytes: protocol headers, sizes, channels. What is in a frame's body is decoded by `scan` and `serde_amqp`.

use bytes::{Buf as _, Bytes, BytesMut};
use fe2o3_amqp_types::performatives::Performative;
use serde::{Serialize, de::DeserializeOwned};

use crate::amqp::scan;

/// The largest frame that the hub takes, and says so in its Open (docs/hub-over-amqp.md 1).
pub(super) const MAX_FRAME: u32 = 65_536;
/// Of a frame's header.
const HEADER: usize = 8;

/// The layer that a protocol header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Amqp,
    Sasl,
}

impl Layer {
    /// Its protocol header.
    pub(super) fn header(self) -> [u8; 8] {
        let id = match self {
            Self::Amqp => 0,
            Self::Sasl => 3,
        };
        [b'A', b'M', b'Q', b'P', id, 1, 0, 0]
    }

    /// The type byte of its frames.
    fn kind(self) -> u8 {
        match self {
            Self::Amqp => 0,
            Self::Sasl => 1,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A protocol header; `None`: one that the hub does not serve.
    Header(Option<Layer>),
    Frame(Frame),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) layer: Layer,
    pub(super) channel: u16,
    /// Empty in a frame that is only a sign of life.
    pub(super) body: Bytes,
}

/// Takes bytes as they come.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: BytesMut,
    in_frames: bool,
}

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// After a header come frames, until [`expect_header`](Self::expect_header). The error is a framing error.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, String> {
        let Some(start) = self.buffer.first_chunk::<HEADER>().copied() else { return Ok(None) };
        if !self.in_frames {
            self.buffer.advance(HEADER);
            self.in_frames = true;
            let layer = [Layer::Amqp, Layer::Sasl].into_iter().find(|layer| layer.header() == start);
            return Ok(Some(Incoming::Header(layer)));
        }
        let [s0, s1, s2, s3, offset, kind, c0, c1] = start;
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        if size > MAX_FRAME {
            return Err(format!("a frame of {size} bytes is over the limit of {MAX_FRAME}"));
        }
        let (size, offset) = (size as usize, usize::from(offset) * 4);
        if offset < HEADER || size < offset {
            return Err(format!("a frame of {size} bytes whose body begins at byte {offset}"));
        }
        let layer = match kind {
            0 => Layer::Amqp,
            1 => Layer::Sasl,
            _ => return Err(format!("a frame of type {kind}; there are 0 and 1")),
        };
        if self.buffer.len() < size {
            return Ok(None);
        }
        let body = self.buffer.split_to(size).freeze().slice(offset..);
        Ok(Some(Incoming::Frame(Frame { layer, channel: u16::from_be_bytes([c0, c1]), body })))
    }

    /// What comes next is a protocol header again.
    pub(super) fn expect_header(&mut self) {
        self.in_frames = false;
    }
}

/// The value at the beginning of a frame's body, and what follows it.
pub(super) fn read<T: DeserializeOwned>(body: &Bytes) -> Result<(T, Bytes), String> {
    let length = scan::value(body)?;
    let value = serde_amqp::from_slice(&body[..length]).map_err(|error| error.to_string())?;
    Ok((value, body.slice(length..)))
}

/// A frame with a performative or a SASL body, and a transfer's payload behind it.
pub(super) fn write(layer: Layer, channel: u16, body: &impl Serialize, payload: &[u8]) -> Vec<u8> {
    let body = encode(body);
    let size = HEADER + body.len() + payload.len();
    let mut frame = Vec::with_capacity(size);
    // No frame of the hub is near 4 GiB.
    frame.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(&[2, layer.kind()]);
    frame.extend_from_slice(&channel.to_be_bytes());
    frame.extend_from_slice(&body);
    frame.extend_from_slice(payload);
    frame
}

/// A frame without a body: a sign of life.
pub(super) fn empty() -> Vec<u8> {
    vec![0, 0, 0, 8, 2, 0, 0, 0]
}

/// How many bytes a transfer's frame has besides its payload.
pub(super) fn overhead(transfer: &Performative) -> usize {
    HEADER + encode(transfer).len()
}

/// An encoded value.
pub(super) fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_amqp::to_vec(value).unwrap_or_else(|error| {
        // What the hub makes can be encoded, so this is a defect of the emulator.
        tracing::error!(%error, "a value cannot be encoded");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = Layer::Sasl.header().to_vec();
        bytes.extend_from_slice(b"\0\0\0\x0a\x02\x01\0\0ab");
        bytes.extend_from_slice(b"\0\0\0\x0d\x03\0\x01\x02ext!c");
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(incoming) = decoder.next().unwrap() {
                    found.push(incoming);
                }
            }
            let frame = |layer, channel, body: &'static [u8]| {
                Incoming::Frame(Frame { layer, channel, body: Bytes::from_static(body) })
            };
            let expected =
                [Incoming::Header(Some(Layer::Sasl)), frame(Layer::Sasl, 0, b"ab"), frame(Layer::Amqp, 0x102, b"c")];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_frame_that_is_too_large_or_contradicts_itself_is_refused_from_its_header() {
        for (bytes, part) in [
            (b"\x00\x01\x00\x01\x02\0\0\0", "over the limit"),
            (b"\0\0\0\x07\x02\0\0\0", "begins"),
            (b"\0\0\0\x08\x01\0\0\0", "begins"),
            (b"\0\0\0\x08\x03\0\0\0", "begins"),
            (b"\0\0\0\x08\x02\x02\0\0", "type 2"),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(&Layer::Amqp.header());
            decoder.push(bytes);
            decoder.next().unwrap();
            assert!(decoder.next().unwrap_err().contains(part), "{bytes:02x?}");
        }
    }

    #[test]
    fn other_protocols_and_versions_are_no_header_of_ours() {
        for bytes in [*b"AMQP\x02\x01\0\0", *b"AMQP\0\0\x09\x01", *b"GET / HT"] {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            assert_eq!(decoder.next(), Ok(Some(Incoming::Header(None))));
        }
    }
}
