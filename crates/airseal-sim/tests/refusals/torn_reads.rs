//! Flash with error correction: what a power cut tore can't even be read.

use std::ops::Range;

use airseal_sim::device::DeviceMemory;
use airseal_sim::fixture::Sealed;
use airseal_sim::flash::{Cut, FlashError, PowerCut, SimFlash, Torn};
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::boot::{self, ResetReason};
use airseal_update::flash::FlashDevice;
use airseal_update::port::Slot;
use airseal_update::{Refusal, lifecycle};
use embedded_storage::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use crate::bench::{Bench, deliver};

/// Fails every read of what an operation that lost power touched, until it is erased.
#[derive(Clone)]
struct EccFlash {
    flash: SimFlash,
    torn: Option<Range<u32>>,
}

impl EccFlash {
    fn keep<T>(&mut self, range: Range<u32>, done: Result<T, FlashError>) -> Result<T, FlashError> {
        if done.is_err() && self.torn.is_none() {
            self.torn = Some(range);
        }
        done
    }
}

impl ErrorType for EccFlash {
    type Error = FlashError;
}

impl ReadNorFlash for EccFlash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        let end = offset + bytes.len() as u32;
        match &self.torn {
            Some(torn) if offset < torn.end && torn.start < end => Err(FlashError::PowerLost),
            _ => self.flash.read(offset, bytes),
        }
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

impl NorFlash for EccFlash {
    const WRITE_SIZE: usize = SimFlash::WRITE_SIZE;
    const ERASE_SIZE: usize = SimFlash::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        for at in (from..to).step_by(Self::ERASE_SIZE) {
            let sector = at..at + Self::ERASE_SIZE as u32;
            let done = self.flash.erase(sector.start, sector.end);
            self.keep(sector.clone(), done)?;
            self.torn = self
                .torn
                .take()
                .filter(|torn| !sector.contains(&torn.start));
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        let done = self.flash.write(offset, bytes);
        self.keep(offset..offset + bytes.len() as u32, done)
    }
}

/// Boots, confirms and updates until `next` runs, confirmed.
fn live(bench: &mut Bench, flash: &mut EccFlash, next: &Sealed) -> Result<(), Refusal> {
    let layout = bench.device.model().layout();
    bench.device.with(|_, config, _| {
        let mut memory = DeviceMemory::new();
        for _ in 0..3 {
            let mut device = FlashDevice::new(Blocking(&mut *flash), layout, None)?;
            let mut buffers = memory.lend();
            let selected = boot::select(&mut device, config, ResetReason::Power, &mut buffers);
            let selected = block_on(selected)?;
            device.set_running(selected.slot);
            if selected.on_trial {
                block_on(lifecycle::confirm(&mut device, config, &mut buffers))?;
            }
            let own = block_on(lifecycle::heal(&mut device, config, &mut buffers))?;
            if own.digest == Some(next.digest) {
                return Ok(());
            }
            block_on(deliver(device, config, buffers, next, &mut 0))?;
        }
        Err(Refusal::WrongCall)
    })
}

#[test]
fn what_a_power_cut_tore_may_be_unreadable() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    let before = EccFlash {
        flash: bench.device.flash().clone(),
        torn: None,
    };
    let mut after = before.clone();
    live(&mut bench, &mut after, &next).unwrap();
    let operations = before.flash.operations()..after.flash.operations();
    assert!(operations.end - operations.start > 40);
    for at in operations {
        let mut ecc = before.clone();
        let how = Cut::Torn(Torn::Half);
        ecc.flash.set_cut(Some(PowerCut { at, how }));
        let cut = live(&mut bench, &mut ecc, &next);
        assert!(matches!(cut, Err(Refusal::Flash(_))), "{at}: {cut:?}");
        assert!(ecc.torn.is_some(), "operation {at}");
        ecc.flash.power_on();
        let healed = live(&mut bench, &mut ecc, &next);
        assert_eq!(healed, Ok(()), "after operation {at}, {:?}", ecc.torn);
    }
}

#[test]
fn a_slot_that_cannot_be_read_gives_way_to_the_other() {
    let mut bench = Bench::new();
    let next = bench.next().seal();
    bench.accepts(&next);
    let layout = bench.device.model().layout();
    let [old, confirmed] = layout.slots;
    let mut boots = |torn: Range<u32>| {
        let flash = bench.device.flash().clone();
        let torn = Some(torn);
        bench.device.with(|_, config, mut buffers| {
            let mut ecc = EccFlash { flash, torn };
            let mut device = FlashDevice::new(Blocking(&mut ecc), layout, None)?;
            let reset = ResetReason::Power;
            block_on(boot::select(&mut device, config, reset, &mut buffers))
        })
    };
    let booted = boots(confirmed.offset..confirmed.offset + 4).unwrap();
    assert_eq!((booted.slot, booted.is_fallback), (Some(Slot::A), true));
    let neither = boots(old.offset..confirmed.offset + 4);
    assert!(matches!(neither, Err(Refusal::Flash(_))), "{neither:?}");
    // Both copies of the device record: no floor is made up.
    let no_state = boots(0..2 * 4096);
    assert!(matches!(no_state, Err(Refusal::Flash(_))), "{no_state:?}");
}
