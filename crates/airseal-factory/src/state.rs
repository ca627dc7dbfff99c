//! Our state area as a device is born with it, written by the device library itself into memory.

use std::convert::Infallible;

use airseal_format::SecurityVersion;
use airseal_pack::Error;
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::flash::{FlashDevice, Layout, Region};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

/// Smallest area: four units of 4 KiB.
pub(crate) const MIN_LEN: u32 = 0x4000;

/// A slot as small as the library takes; nothing is written to it.
const SLOT_LEN: u32 = 0x1000;

/// The area of `len` bytes: the keyset in force, the lowest security version, and an image that lies outside both slots.
///
/// # Errors
/// Refused if the area is too small or the keyset too long.
pub(crate) fn factory_state(
    len: u32,
    floor: SecurityVersion,
    keyset: &[u8],
) -> Result<Vec<u8>, Error> {
    let state = Region { offset: 0, len };
    let slots = [len, len + SLOT_LEN].map(|offset| Region {
        offset,
        len: SLOT_LEN,
    });
    let layout = Layout {
        slots,
        state,
        base_address: 0,
    };
    let state_len = index(len);
    let flash = Memory(vec![0xFF; state_len.saturating_add(2 * index(SLOT_LEN))]);
    let refuse = |refusal: airseal_update::Refusal| {
        Error::refused("the state area", refusal.to_string(), "see airseal explain")
    };
    let mut device = FlashDevice::new(Blocking(flash), layout, None).map_err(refuse)?;
    block_on(device.provision(None, floor, keyset)).map_err(refuse)?;
    let mut bytes = device.into_flash().0.0;
    bytes.truncate(state_len);
    Ok(bytes)
}

/// An address as a place in memory.
fn index(address: u32) -> usize {
    usize::try_from(address).unwrap_or(usize::MAX)
}

/// Flash in memory; the library keeps the rules of real flash by itself.
struct Memory(Vec<u8>);

impl ErrorType for Memory {
    type Error = Infallible;
}

impl ReadNorFlash for Memory {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        let from = self.0.get(index(offset)..).unwrap_or_default();
        bytes
            .iter_mut()
            .zip(from)
            .for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Memory {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        let part = self.0.get_mut(index(from)..index(to)).unwrap_or_default();
        part.fill(0xFF);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        let to = self.0.get_mut(index(offset)..).unwrap_or_default();
        to.iter_mut().zip(bytes).for_each(|(to, from)| *to &= *from);
        Ok(())
    }
}
