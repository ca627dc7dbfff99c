//! What an update costs in RAM: one table, and promises about its sums.
//!
//! `cargo test -p airseal-update --test size -- --nocapture` prints it. Sizes are those of
//! this machine; on a 32-bit core every pointer in them is half as long.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::mem::{size_of, size_of_val};

use airseal_format::bundle::{Section, SectionKind};
use airseal_format::component::FlashEncryption;
use airseal_format::payload::Profile;
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, To, VENDOR};
use airseal_sim::random::Noise;
use airseal_sim::stream::StdStream;
use airseal_sim::{Model, SimDevice};
use airseal_update::blocking::{Blocking, block_on};
use airseal_update::boot::{self, ResetReason};
use airseal_update::flash::FlashDevice;
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Buffers, Factory, Memory, Policy, SmallMemory, UpdateSession, lifecycle};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// The promise for 4 KiB chunks and images up to 16 MiB.
const LIMIT: usize = 12 * 1024;
/// The promise for 1 KiB chunks and images up to 2 MiB.
const SMALL_LIMIT: usize = 6 * 1024;

/// What a flash driver usually is: a handle.
struct Driver(u32);

type Session<'a> = UpdateSession<'a, FlashDevice<Blocking<Driver>>>;

#[test]
fn static_memory_of_an_update() {
    let state = [
        (
            "session, with slots, journal and keysets",
            size_of::<Session<'_>>(),
        ),
        ("bundle reader", size_of::<BundleReader>()),
    ];
    let sum = |buffers: usize| buffers + state.iter().map(|(_, len)| len).sum::<usize>();
    let (buffers, small) = (size_of::<Memory>(), size_of::<SmallMemory>());
    println!("| bytes of RAM | 4 KiB chunks, 16 MiB | 1 KiB chunks, 2 MiB |");
    println!("|---|---|---|");
    println!("| buffers | {buffers} | {small} |");
    for (name, len) in state {
        println!("| {name} | {len} | {len} |");
    }
    println!("| **sum** | **{}** | **{}** |", sum(buffers), sum(small));
    println!("| limit | {LIMIT} | {SMALL_LIMIT} |");
    assert!(sum(buffers) <= LIMIT, "{} bytes", sum(buffers));
    assert!(sum(small) <= SMALL_LIMIT, "{} bytes", sum(small));
}

/// What the caller's task holds while a call runs: on the stack of a blocking caller, in
/// the task of an executor. Cryptography's own stack comes on top.
#[test]
fn futures_of_an_update() {
    let mut device = device(16 * 4096);
    let mut sizes: Vec<(&str, usize)> = Vec::new();
    device.with(|mut ports, config, mut buffers| {
        let mut scratch = Memory::<2048, 1024, 4096, 4096>::new();
        let mut lent = scratch.lend();
        let selection = boot::select(&mut ports, config, ResetReason::Power, &mut buffers);
        sizes.push(("boot::select", size_of_val(&selection)));
        drop(selection);
        let confirm = lifecycle::confirm(&mut ports, config, &mut buffers);
        sizes.push(("lifecycle::confirm", size_of_val(&confirm)));
        drop(confirm);
        let heal = lifecycle::heal(&mut ports, config, &mut lent);
        sizes.push(("lifecycle::heal", size_of_val(&heal)));
        drop(heal);
        let begin = UpdateSession::begin(ports, config, buffers);
        sizes.push(("UpdateSession::begin", size_of_val(&begin)));
        let mut session = block_on(begin).unwrap();
        let section = Section {
            kind: SectionKind::Manifest,
            len: 0,
        };
        sizes.push((
            "begin_section",
            size_of_val(&session.begin_section(section)),
        ));
        sizes.push(("push", size_of_val(&session.push(&[]))));
        sizes.push(("stage", size_of_val(&session.stage())));
        let mut reader = BundleReader::new();
        let mut source = Blocking(StdStream(&[][..]));
        let mut read = [0; 64];
        let update = stream::update(&mut session, &mut reader, &mut source, &mut read);
        sizes.push(("transport::stream::update", size_of_val(&update)));
    });
    println!("| bytes while it runs | |\n|---|---|");
    for (name, len) in &sizes {
        println!("| `{name}` | {len} |");
    }
    let most = sizes.iter().map(|(_, len)| *len).max();
    assert!(most <= Some(4096), "{most:?}");
}

#[test]
fn default_buffers_hold_sixteen_mebibytes() {
    installs(
        Memory::<2048, 1024, 4096, 4096>::new().lend(),
        Profile::P2,
        16 << 20,
    );
    let default = size_of::<Memory>();
    assert_eq!(default, size_of::<Memory<2048, 1024, 4096, 4096>>());
}

#[test]
fn small_buffers_hold_two_mebibytes() {
    installs(SmallMemory::new().lend(), Profile::P1, 2 << 20);
}

/// Installs an image of `len` bytes with these buffers and nothing else.
fn installs(buffers: Buffers<'_>, profile: Profile, len: usize) {
    let mut device = device(u32::try_from(len).unwrap() + 8192);
    let mut plan = ReleasePlan::new(
        1,
        Noise::new(1).bytes(len),
        vec![To::X25519(device.public())],
    );
    plan.header.profile = profile;
    let bundle = plan.seal().bundle();
    device
        .with(|ports, config, _| {
            block_on(async {
                let mut session = UpdateSession::begin(ports, config, buffers).await?;
                let mut reader = BundleReader::new();
                let mut source = Blocking(StdStream(&bundle[..]));
                stream::update(&mut session, &mut reader, &mut source, &mut [0; 4096]).await
            })
        })
        .unwrap();
    assert!(device.boot(ResetReason::Restart).unwrap().on_trial);
}

fn device(slot_len: u32) -> SimDevice {
    let model = Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: FlashEncryption::None,
        slot_len,
        slots: None,
        factory: Some(Factory::default()),
    };
    let mut device = SimDevice::new(model, &[3; 32]);
    assert_eq!(device.boot(ResetReason::Power).unwrap().slot, None);
    device
}

impl ErrorType for Driver {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Driver {
    const READ_SIZE: usize = 4;

    fn read(&mut self, _: u32, _: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }

    fn capacity(&self) -> usize {
        self.0 as usize
    }
}

impl NorFlash for Driver {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    fn erase(&mut self, _: u32, _: u32) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }

    fn write(&mut self, _: u32, _: &[u8]) -> Result<(), NorFlashErrorKind> {
        Err(NorFlashErrorKind::Other)
    }
}
