//! The same core under an executor: flash and network that make callers wait, and sessions
//! that are dropped in the middle of it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test may unwrap, and documents itself by its name"
)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use airseal_format::component::FlashEncryption;
use airseal_sim::fixture::{CLASS, KeysetPlan, ReleasePlan, Sealed, To, VENDOR};
use airseal_sim::random::Noise;
use airseal_sim::{Model, SimDevice, SimFlash};
use airseal_update::boot::ResetReason;
use airseal_update::flash::FlashDevice;
use airseal_update::transport::{BundleReader, stream};
use airseal_update::{Policy, Refusal, UpdateSession};
use embedded_storage::nor_flash as sync;
use embedded_storage_async::nor_flash as asynchronous;

#[test]
fn flash_and_network_may_make_the_session_wait() {
    let (mut device, release, image) = bench();
    let polls = update(&mut device, &release.bundle(), usize::MAX).unwrap();
    assert!(polls > 50, "only {polls} polls: nothing waited");
    assert!(device.boot(ResetReason::Restart).unwrap().on_trial);
    assert_eq!(device.image(image.len()), image);
}

#[test]
fn a_session_dropped_at_any_await_is_taken_up_again() {
    let (mut device, release, image) = bench();
    let bundle = release.bundle();
    let start = device.flash().clone();
    let running = device.running();
    let polls = update(&mut device, &bundle, usize::MAX).unwrap();
    for dropped_at in 1..polls {
        *device.flash_mut() = start.clone();
        device.set_running(running);
        assert_eq!(update(&mut device, &bundle, dropped_at), None);
        if update(&mut device, &bundle, usize::MAX).is_none() {
            panic!("dropped at await {dropped_at}: does not go on");
        }
        assert!(device.boot(ResetReason::Restart).unwrap().on_trial);
        assert_eq!(
            device.image(image.len()),
            image,
            "dropped at await {dropped_at}"
        );
    }
}

/// Updates over flash and a stream that wait before each operation; gives up at poll
/// `limit`. The polls it took, if it came to its end.
fn update(device: &mut SimDevice, bundle: &[u8], limit: usize) -> Option<usize> {
    let layout = device.model().layout();
    let running = device.running();
    device.with(|ports, config, buffers| {
        let flash = Waiting(ports.into_flash().0);
        let device = FlashDevice::new(flash, layout, running).unwrap();
        let work = async {
            let mut session = UpdateSession::begin(device, config, buffers).await?;
            let mut reader = BundleReader::new();
            let mut source = Waiting(bundle);
            stream::update(&mut session, &mut reader, &mut source, &mut [0; 1500]).await
        };
        let mut work = pin!(work);
        let mut context = Context::from_waker(Waker::noop());
        for polls in 1..=limit {
            match work.as_mut().poll(&mut context) {
                Poll::Ready(Ok(()) | Err(Refusal::AlreadyStaged)) => return Some(polls),
                Poll::Ready(Err(refusal)) => panic!("{refusal}"),
                Poll::Pending => {}
            }
        }
        None
    })
}

/// Is not ready the first time it is asked.
struct Waiting<T>(T);

async fn wait() {
    let mut is_first = true;
    poll_fn(|_| match std::mem::take(&mut is_first) {
        true => Poll::Pending,
        false => Poll::Ready(()),
    })
    .await;
}

impl asynchronous::ErrorType for Waiting<&mut SimFlash> {
    type Error = <SimFlash as sync::ErrorType>::Error;
}

impl asynchronous::ReadNorFlash for Waiting<&mut SimFlash> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        sync::ReadNorFlash::read(self.0, offset, bytes)
    }

    fn capacity(&self) -> usize {
        sync::ReadNorFlash::capacity(self.0)
    }
}

impl asynchronous::NorFlash for Waiting<&mut SimFlash> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        wait().await;
        sync::NorFlash::erase(self.0, from, to)?;
        wait().await;
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        wait().await;
        sync::NorFlash::write(self.0, offset, bytes)?;
        wait().await;
        Ok(())
    }
}

impl embedded_io_async::ErrorType for Waiting<&[u8]> {
    type Error = std::convert::Infallible;
}

impl embedded_io_async::Read for Waiting<&[u8]> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        wait().await;
        let len = self.0.len().min(buffer.len());
        let (now, rest) = self.0.split_at(len);
        buffer[..len].copy_from_slice(now);
        self.0 = rest;
        Ok(len)
    }
}

fn bench() -> (SimDevice, Sealed, Vec<u8>) {
    let model = Model {
        vendor_id: VENDOR,
        class_id: CLASS,
        hw_rev: 1,
        chip: 5,
        keyset: KeysetPlan::first().signed(),
        policy: Policy::default(),
        flash_encryption: FlashEncryption::None,
        slot_len: 8 * 4096,
        slots: None,
        factory: None,
    };
    let mut device = SimDevice::new(model, &[5; 32]);
    let to = vec![To::X25519(device.public())];
    let image = |n: u64| Noise::new(n).bytes(13 * 1024 + 5);
    let release = |n| ReleasePlan::new(n, image(n), to.clone()).seal();
    device.provision(&release(1).bundle()).unwrap();
    (device, release(2), image(2))
}
