//! What the peer says of itself when it opens: its idle time-out, which the protocol's package keeps to itself.

use fe2o3_amqp_types::performatives::Open;

/// More than any Open has; behind it the time-out counts as not announced.
const LIMIT: usize = 64 * 1024;

/// Reads the first bytes from the peer up to its Open, and nothing behind.
#[derive(Debug)]
pub(crate) enum Opening {
    Reading(Vec<u8>),
    Read { idle_time_out: Option<u32> },
}

impl Default for Opening {
    fn default() -> Self {
        Self::Reading(Vec::new())
    }
}

impl Opening {
    pub(crate) fn idle_time_out(&self) -> Option<u32> {
        match self {
            Self::Reading(_) => None,
            Self::Read { idle_time_out } => idle_time_out.filter(|time_out| *time_out > 0),
        }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let Self::Reading(read) = self else { return };
        read.extend_from_slice(bytes);
        let mut rest = read.as_slice();
        let open = loop {
            if rest.starts_with(b"AMQP") && rest.len() >= 8 {
                rest = &rest[8..];
                continue;
            }
            let Some((size, frame)) = frame(rest) else { break None };
            // Type 0 is AMQP, 1 is SASL. The data offset counts words of four bytes.
            let body = (frame[5] == 0).then(|| frame.get(usize::from(frame[4]) * 4..)).flatten();
            match body {
                Some(body) => {
                    break Some(serde_amqp::from_slice::<Open>(body).ok().and_then(|open| open.idle_time_out));
                }
                None => rest = &rest[size..],
            }
        };
        match open {
            Some(idle_time_out) => *self = Self::Read { idle_time_out },
            None if read.len() > LIMIT => *self = Self::Read { idle_time_out: None },
            None => {}
        }
    }
}

/// The first frame, if it is there as a whole.
fn frame(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let size = u32::from_be_bytes(*bytes.first_chunk::<4>()?) as usize;
    (size >= 8).then(|| bytes.get(..size)).flatten().map(|frame| (size, frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(idle_time_out: Option<u32>) -> Vec<u8> {
        let open = Open {
            container_id: "hub".to_owned(),
            hostname: None,
            max_frame_size: 65_536.into(),
            channel_max: 8191.into(),
            idle_time_out,
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let body = serde_amqp::to_vec(&open).unwrap();
        let mut bytes = b"AMQP\x00\x01\x00\x00".to_vec();
        bytes.extend(u32::try_from(8 + body.len()).unwrap().to_be_bytes());
        bytes.extend([2, 0, 0, 0]);
        bytes.extend(body);
        bytes
    }

    fn read(bytes: &[u8], piece: usize) -> Option<u32> {
        let mut opening = Opening::default();
        bytes.chunks(piece).for_each(|piece| opening.take(piece));
        opening.idle_time_out()
    }

    #[test]
    fn the_idle_time_out_is_read_from_the_open_in_any_pieces() {
        for piece in [1, 7, 1000] {
            assert_eq!(read(&open(Some(240_000)), piece), Some(240_000));
        }
        let sasl = b"AMQP\x03\x01\x00\x00\x00\x00\x00\x08\x02\x01\x00\x00";
        assert_eq!(read(&[&sasl[..], &open(Some(5_000))].concat(), 3), Some(5_000));
    }

    #[test]
    fn without_one_there_is_none() {
        assert_eq!(read(&open(None), 9), None);
        assert_eq!(read(&open(Some(0)), 9), None);
        assert_eq!(read(b"HTTP/1.1 400 Bad Request\r\n\r\n", 5), None);
    }
}
