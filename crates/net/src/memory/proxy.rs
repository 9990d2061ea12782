//! A proxy's answer without a proxy, for the fuzz target.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::task::Poll;

use iothub_core::{CreateError, Proxy, ProxyError};

use crate::connector::Via;

/// What a connector makes of a proxy's answer that comes in these pieces; `Pending` while it waits for more.
///
/// # Errors
///
/// [`CreateError`] for a proxy that cannot be one.
pub fn proxy_answer(proxy: &Proxy, pieces: &[&[u8]]) -> Result<Poll<Result<(), ProxyError>>, CreateError> {
    let mut tunnel = Via::new(proxy, "hub.example", 443)?.tunnel();
    Ok(tunnel.poll(&mut Pieces(pieces.iter().copied().collect())))
}

/// Each read gives from one piece; what is written is of no interest.
struct Pieces<'a>(VecDeque<&'a [u8]>);

impl Read for Pieces<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while let Some(piece) = self.0.front_mut() {
            match piece.read(buf)? {
                0 => drop(self.0.pop_front()),
                count => return Ok(count),
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
