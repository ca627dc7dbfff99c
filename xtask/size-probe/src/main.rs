//! A device that receives a bundle over a serial line, checks it, installs it, tries it and confirms it.
//!
//! It exists to be linked: registers and flash lie at made-up addresses, read and written with volatile access so that
//! the compiler can fold nothing away.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::panic::PanicInfo;
use core::ptr::{with_exposed_provenance, with_exposed_provenance_mut};

use airseal_format::component::FlashEncryption;
use airseal_format::recipient::x25519::X25519Identity;
use airseal_format::{ClassId, HardwareRevision, VendorId};
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::boot::{self, ResetReason};
use airseal_update::flash::{FlashDevice, Layout, Region};
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Config, Memory, Policy, Refusal, UpdateSession, lifecycle};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

static KEYSET: [u8; 256] = [0x5A; 256];
static mut MEMORY: Memory = Memory::new();

/// Where a linker starts; never called.
// SAFETY: the only symbol of this name; nothing else links against it.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    // SAFETY: this function runs once, before anything else could hold the memory.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    let outcome = block_on(life(memory));
    let code = outcome.map_or_else(|refusal| u32::from(refusal.code()), |()| 0);
    write(UART, code);
    loop {}
}

async fn life(memory: &mut Memory) -> Result<(), Refusal> {
    let identity = X25519Identity::new(core::array::from_fn(|index| byte(FUSES + index)));
    let config = Config {
        vendor_id: VendorId([1; 16]),
        class_id: ClassId([2; 16]),
        hw_rev: HardwareRevision(1),
        chip: 5,
        flash_encryption: FlashEncryption::None,
        keyset: &KEYSET,
        identities: &[&identity],
        factory: None,
        policy: Policy::default(),
    };
    let mut device = FlashDevice::new(Blocking(Flash), LAYOUT, None)?;
    let selection =
        boot::select(&mut device, &config, ResetReason::Power, &mut memory.lend()).await?;
    device.set_running(selection.slot);
    if selection.on_trial {
        if byte(UART) == 0 {
            lifecycle::revert(&mut device, &mut memory.lend()).await?;
        } else {
            lifecycle::confirm(&mut device, &config, &mut memory.lend()).await?;
        }
    }
    let mut session = UpdateSession::begin(device, &config, memory.lend()).await?;
    let mut reader = BundleReader::new();
    stream::update(
        &mut session,
        &mut reader,
        &mut Blocking(Serial),
        &mut [0; 64],
    )
    .await
}

struct Flash;

impl ErrorType for Flash {
    type Error = Infallible;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Infallible> {
        for (index, out) in bytes.iter_mut().enumerate() {
            *out = byte(FLASH + offset as usize + index);
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        4 << 20
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Infallible> {
        write(SPI, from);
        write(SPI, to);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Infallible> {
        write(SPI, offset);
        for &value in bytes {
            write(SPI, u32::from(value));
        }
        Ok(())
    }
}

struct Serial;

impl embedded_io::ErrorType for Serial {
    type Error = Infallible;
}

impl embedded_io::Read for Serial {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        for out in buffer.iter_mut() {
            *out = byte(UART);
        }
        Ok(buffer.len())
    }
}

fn byte(address: usize) -> u8 {
    // SAFETY: this program is linked, not run; on a device these addresses would be the chip's.
    unsafe { with_exposed_provenance::<u8>(address).read_volatile() }
}

fn write(address: usize, value: u32) {
    // SAFETY: as for `byte`.
    unsafe { with_exposed_provenance_mut::<u32>(address).write_volatile(value) }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}

const UART: usize = 0x6000_0000;
const SPI: usize = 0x6000_2000;
const FUSES: usize = 0x6000_8800;
const FLASH: usize = 0x4200_0000;
const LAYOUT: Layout = Layout {
    slots: [
        Region {
            offset: 0x10_0000,
            len: 0x10_0000,
        },
        Region {
            offset: 0x20_0000,
            len: 0x10_0000,
        },
    ],
    state: Region {
        offset: 0x9000,
        len: 0x4000,
    },
    base_address: 0,
};
