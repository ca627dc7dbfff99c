//! The device side of Airseal: verifies every chunk before it touches flash, and survives a
//! power cut at any moment.
//!
//! No standard library, no heap, no unsafe code, no network, no executor, no clock. The
//! caller moves bytes; the session says which bytes it needs and does the rest:
//!
//! ```text
//!            begin                    on trial? refused, nothing is written
//!              |
//!         NeedManifest   <-- keyset sections, manifest section
//!              |             signatures, device, order, policy, limits
//!         NeedEnvelope   <-- the envelope pack; not for releases without encryption
//!              |             unwrap, commitment
//!            Fetch       <-- payload bytes: top, page, chunks, each verified
//!              |             decrypt, erase, write, checkpoint
//!            Stage           read back, compare the image digest, complete the record
//!              |
//!            Reboot          boot::select starts the image on trial
//!              |
//!     lifecycle::confirm     it stays, and the rollback floor follows
//!     lifecycle::revert      it failed: the image before boots again
//! ```
//!
//! # What has to be brought along
//!
//! - **flash**: anything with `embedded_storage_async::nor_flash::NorFlash`, or the blocking
//!   trait of the same name in [`blocking::Blocking`]. [`flash::FlashDevice`] makes every
//!   [`port`] of it: two slots, boot record, journal, keysets. A board with a boot loader of
//!   its own implements [`port::BootControl`] instead.
//! - **keys**: one [`airseal_format::recipient::Identity`] per key that opens envelopes, and
//!   the signed bytes of the first keyset, compiled in ([`Config`]). A group key's next
//!   generation may come inside a release ([`carried`]).
//! - **a transport**: bytes from anywhere. [`transport::stream`] takes a whole bundle from a
//!   serial line, a file or a socket; [`transport::http`] frames requests to a server.
//! - **memory**: [`Memory`] or [`SmallMemory`], one static, lent to a session.
//!
//! | bytes of RAM | [`Memory`]: 4 KiB chunks, images up to 16 MiB | [`SmallMemory`]: 1 KiB chunks, up to 2 MiB |
//! |---|---|---|
//! | buffers | 11 265 | 5 185 |
//! | session with slots, journal and keysets, and the reader of a bundle | 952 | 952 |
//! | **sum** | **12 217** of 12 288 | **6 137** of 6 144 |
//!
//! These are sizes on a 64-bit host, which `tests/size.rs` prints and holds to the limits; on
//! a 32-bit core the second row is smaller. What a call needs while it runs (1.6 to 2.5 KiB,
//! in the same table) lies on the stack of a blocking caller or in the task of an executor;
//! verifying a signature takes about 8 KiB of stack on top.
//!
//! # On a small core
//!
//! Software SHA-2 and AES unroll their rounds unless the whole firmware is built otherwise.
//! Unrolled SHA-512 alone is some 50 KB of flash. In the firmware's `.cargo/config.toml`:
//!
//! ```toml
//! [target.riscv32imc-unknown-none-elf]
//! rustflags = ['--cfg=sha2_backend_soft="compact"', '--cfg=aes_backend_soft="compact"']
//! ```
//!
//! Leave the feature `p256` out unless a signing key or a device key is of that curve.
//!
//! # What it promises
//!
//! - A slot is erased only after every check passed, and the first top, page and chunk of
//!   the payload were verified. Erasing takes a value that only the checks can make.
//! - A chunk is decrypted only after it was verified; see [`airseal_format`].
//! - The running image is never written to, and nothing starts while it is on trial.
//! - After a power cut at any flash operation the device boots the old or the new image, and
//!   a download goes on at the last erase unit that was written. The simulator cuts the
//!   power at every operation of every flow to prove it (`cargo xtask power-cuts`).
//! - The rollback floor moves only with [`lifecycle::confirm`].
//! - Every [`Refusal`] has a number, names who has to act, and says what to do.
//!
//! The compiler holds the first of these. A session owns the device, and hands it back only
//! when it is over:
//!
//! ```
//! use airseal_update::UpdateSession;
//! use airseal_update::port::{Device, Fault, Slot};
//!
//! async fn erase<D: Device>(session: UpdateSession<'_, D>) -> Result<(), Fault> {
//!     session.into_device().erase_slot(Slot::A, 0, 4096).await
//! }
//! ```
//!
//! While it runs, nobody reaches around it:
//!
//! ```compile_fail,E0616
//! # use airseal_update::UpdateSession;
//! # use airseal_update::port::{Device, Fault, Slot};
//! async fn erase<D: Device>(session: &mut UpdateSession<'_, D>) -> Result<(), Fault> {
//!     session.device.erase_slot(Slot::A, 0, 4096).await
//! }
//! ```
//!
//! and inside, the first erase takes a `Clearance`, which only the checks make and nobody
//! outside can name:
//!
//! ```compile_fail,E0603
//! use airseal_update::check::Clearance;
//! ```
//!
//! # After a start
//!
//! Run [`lifecycle::heal`] before any network (a session's `begin` does it too), then test
//! the firmware if [`port::BootState::is_on_trial`], and confirm or revert. Arm a watchdog
//! for the trial: an image that hangs reverts only by a restart. [`boot`] holds the
//! reference boot loader's logic, for boards that bring none.
//!
//! # A complete example
//!
//! Over a byte stream, with a simulated flash in the place of a driver:
//!
#![doc = concat!("```\n", include_str!("../examples/byte_stream.rs"), "\n```")]
#![no_std]

mod check;
mod checksum;
mod config;
mod envelopes;
mod install;
mod keysets;
mod record;
mod refusal;
mod session;

pub mod blocking;
pub mod boot;
pub mod carried;
pub mod flash;
pub mod install_record;
pub mod journal;
pub mod lifecycle;
pub mod port;
pub mod transport;

pub use config::{Buffers, Config, Factory, Memory, Policy, SmallMemory};
pub use refusal::{Party, Refusal, Seen};
pub use session::{Action, Fetch, UpdateSession};

pub(crate) use checksum::{Crc32, crc32};
