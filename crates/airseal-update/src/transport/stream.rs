//! A bundle over any byte stream: a file, a serial line, a socket.

use embedded_io_async::Read;

use super::BundleReader;
use crate::Refusal;
use crate::port::Device;
use crate::session::{Action, UpdateSession};

/// Reads a bundle from `stream` until the new image is staged. `buffer` holds what one read
/// brings; any length of at least 1 does. Nothing is read past the last byte that is needed.
///
/// # Errors
/// The session's refusal, `Transport` when the stream fails, `Ended` when it ends early.
pub async fn update<D: Device>(
    session: &mut UpdateSession<'_, D>,
    reader: &mut BundleReader,
    stream: &mut impl Read,
    buffer: &mut [u8],
) -> Result<(), Refusal> {
    while step(session, reader, stream, buffer).await?.is_some() {}
    Ok(())
}

/// One step of [`update`], for callers that show progress: bytes of the image in the slot
/// and bytes in all, both 0 before the payload; `None` when the new image is staged.
///
/// # Errors
/// As [`update`].
pub async fn step<D: Device>(
    session: &mut UpdateSession<'_, D>,
    reader: &mut BundleReader,
    stream: &mut impl Read,
    buffer: &mut [u8],
) -> Result<Option<(u64, u64)>, Refusal> {
    match session.next() {
        Action::Refused(refusal) => return Err(refusal),
        Action::Stage => {
            session.stage().await?;
            return Ok(None);
        }
        Action::Reboot => return Ok(None),
        Action::NeedManifest | Action::NeedEnvelope | Action::Fetch(_) => {
            let wanted = usize::try_from(reader.wanted()).unwrap_or(usize::MAX);
            let len = buffer.len().min(wanted);
            let room = buffer.get_mut(..len).unwrap_or_default();
            if room.is_empty() {
                return Err(Refusal::Rewind);
            }
            let read = stream.read(room).await.map_err(|_| Refusal::Transport)?;
            if read == 0 {
                return Err(Refusal::Ended);
            }
            let bytes = buffer.get(..read).unwrap_or_default();
            reader.push(session, bytes).await?;
        }
    }
    Ok(Some(session.progress().unwrap_or_default()))
}
