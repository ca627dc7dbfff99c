use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use airseal_sim::SimDevice;
use airseal_sim::agent::{Cuts, Event};
use airseal_sim::fault::{FaultPlan, FaultTransport};
use airseal_sim::flash::{Cut, PowerCut, Torn};
use airseal_sim::home::Home;
use airseal_sim::https::ClientError;
use airseal_sim::random::Noise;
use airseal_sim::static_files::{Folder, StaticFiles};
use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use super::report::{Report, client_failure, refused};
use super::{DeviceArgs, client};
use crate::failure::Failure;
use crate::interrupt;
use crate::ui::Ui;

/// Boots, and takes a sealed file if there is one.
///
/// # Errors
/// When the device can't start, or the file can't be read.
pub(super) fn alone(
    mut device: SimDevice,
    from: Option<&Path>,
    home: &Home,
    args: &DeviceArgs,
    report: &mut Report,
    ui: &Ui,
) -> Result<(SimDevice, Result<(), Failure>), Failure> {
    power_on(&mut device, report).map_err(|refusal| refused(&refusal))?;
    report.outcome = "booted".to_owned();
    let Some(from) = from else {
        return Ok((device, Ok(())));
    };
    let bar = ui.progress("installing", 1);
    let mut input = Input::open(from, home, args)?;
    let taken = take(
        &mut device,
        &mut input,
        args.cut_power_at.as_ref(),
        &mut bar.setter(),
        report,
    )?;
    if matches!(taken, Err(Refusal::AlreadyInstalled)) {
        report.outcome = if was_confirmed(report) {
            "updated".to_owned()
        } else {
            report.events.push(Event::NothingNewer);
            "nothing to install".to_owned()
        };
        return Ok((device, Ok(())));
    }
    let tried = taken.and_then(|()| try_new_image(&mut device, !args.fail_self_test, report));
    let result = match tried {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::refused(
            "the new image failed its self-test; the device went back to the one before",
        )),
        Err(refusal) => Err(refused(&refusal)),
    };
    report.outcome = if result.is_ok() {
        "updated".to_owned()
    } else {
        "refused".to_owned()
    };
    Ok((device, result))
}

/// True if a power cut came so late that the new image was started, and stayed, on the way.
fn was_confirmed(report: &Report) -> bool {
    report
        .events
        .iter()
        .any(|event| matches!(event, Event::Confirmed { .. }))
}

/// Feeds the file to the device, again after every power cut and every fault that was asked for.
fn take(
    device: &mut SimDevice,
    input: &mut Input,
    cuts: Option<&Cuts>,
    progress: &mut dyn FnMut(u64, u64),
    report: &mut Report,
) -> Result<Result<(), Refusal>, Failure> {
    let mut noise = Noise::new(device.flash().operations());
    loop {
        let distance = match cuts {
            Some(Cuts::Every(every)) => Some(*every),
            Some(Cuts::Random(most, _)) => Some(noise.below(*most)),
            _ => None,
        };
        let cut = distance.map(|distance| PowerCut {
            at: device.flash().operations() + distance,
            how: Cut::Torn(Torn::Words(noise.bits())),
        });
        device.flash_mut().set_cut(cut);
        let result = input.feed(device, progress);
        interrupt::check()?;
        let result = match result {
            Ok(()) => Ok(()),
            Err(ClientError::Refusal(refusal)) => Err(refusal),
            Err(error) => return Err(client_failure(error)),
        };
        if device.flash().is_off() {
            let operation = device.flash().operations();
            if let Err(refusal) = power_on(device, report) {
                return Ok(Err(refusal));
            }
            let safe = match device.checkpoint() {
                Ok(point) => point.map_or(0, |point| point.position),
                Err(refusal) => return Ok(Err(refusal)),
            };
            report.power_cuts += 1;
            report.events.push(Event::PowerLost { operation, safe });
        } else {
            device.flash_mut().set_cut(None);
            match result {
                Err(refusal) if refusal.is_transient() && input.is_faulty() => {
                    let why = refusal.to_string();
                    report.events.push(Event::Interrupted { why });
                }
                result => return Ok(result),
            }
        }
        input.rewind()?;
    }
}

fn power_on(device: &mut SimDevice, report: &mut Report) -> Result<(), Refusal> {
    device.flash_mut().power_on();
    if boot(device, ResetReason::Power, report)? {
        device.confirm()?;
        let version = running_version(device)?;
        report.events.push(Event::Confirmed { version });
    }
    device.heal().map(|_| ())
}

fn try_new_image(
    device: &mut SimDevice,
    passes: bool,
    report: &mut Report,
) -> Result<bool, Refusal> {
    boot(device, ResetReason::Restart, report)?;
    if passes {
        device.confirm()?;
        let version = running_version(device)?;
        report.events.push(Event::Confirmed { version });
    } else {
        device.revert()?;
        boot(device, ResetReason::Restart, report)?;
    }
    Ok(passes)
}

/// Starts the device; true if the image is on trial.
fn boot(device: &mut SimDevice, reason: ResetReason, report: &mut Report) -> Result<bool, Refusal> {
    let on_trial = device.boot(reason)?.on_trial;
    report.events.push(Event::Booted {
        slot: device
            .running()
            .map_or_else(|| "factory".to_owned(), |slot| format!("{slot:?}")),
        version: running_version(device)?,
        on_trial,
    });
    Ok(on_trial)
}

fn running_version(device: &mut SimDevice) -> Result<Option<String>, Refusal> {
    match device.running() {
        Some(slot) => device.version_in(slot),
        None => Ok(None),
    }
}

/// A sealed file as a byte stream, with faults in it.
struct Input {
    reader: Box<dyn Read>,
    len: Option<u64>,
    path: PathBuf,
    exported: Option<Exported>,
    plan: Option<FaultPlan>,
    is_read: bool,
    is_faulty: bool,
}

impl Input {
    fn open(path: &Path, home: &Home, args: &DeviceArgs) -> Result<Input, Failure> {
        let mut input = Input {
            reader: Box::new(io::empty()),
            len: None,
            path: path.to_owned(),
            exported: Exported::find(path, home, args)?,
            plan: faults(args)?,
            is_read: false,
            is_faulty: false,
        };
        if input.exported.is_some() && input.plan.is_some() {
            return Err(Failure::usage(
                "--faults is for a sealed file or a server, not for an exported folder",
            ));
        }
        input.rewind()?;
        Ok(input)
    }

    fn feed(
        &mut self,
        device: &mut SimDevice,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), ClientError> {
        match &mut self.exported {
            Some(exported) => {
                device.update_from_static(exported.files.as_mut(), &exported.capability, progress)
            }
            None => Ok(device.update_from(&mut self.reader, self.len, progress)?),
        }
    }

    fn rewind(&mut self) -> Result<(), Failure> {
        if self.exported.is_some() {
            return Ok(());
        }
        if self.path.as_os_str() == "-" {
            if self.is_read {
                return Err(Failure::environment(
                    "the update was interrupted, and standard input can't be read again",
                )
                .hint("send the sealed file once more; the device goes on where it was"));
            }
            self.is_read = true;
            self.with_faults(Box::new(io::stdin()), None);
            return Ok(());
        }
        let failed =
            |error| Failure::io(format_args!("can't read {}", self.path.display()), &error);
        let file = File::open(&self.path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Failure::refused(format_args!(
                "{}: is a directory, neither a sealed file nor DIR/CAPABILITY of an exported folder",
                self.path.display()
            )));
        }
        let len = metadata.is_file().then_some(metadata.len());
        self.with_faults(Box::new(file), len);
        Ok(())
    }

    /// True while the faults of the plan are in the stream; they are in its first reading only.
    fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    fn with_faults(&mut self, reader: Box<dyn Read>, len: Option<u64>) {
        self.len = len;
        self.is_faulty = self.plan.is_some();
        self.reader = match self.plan.take() {
            None => reader,
            Some(plan) => {
                let faults = FaultTransport::new(&plan, len.unwrap_or(FAULT_TOTAL));
                Box::new(FaultyInput { reader, faults })
            }
        };
    }
}

/// What `airseal export static` writes: a folder here, or on any web server.
struct Exported {
    files: Box<dyn StaticFiles>,
    capability: String,
}

impl Exported {
    /// `DIR/CAPABILITY` or `https://HOST/CAPABILITY`, with or without `/index`; none for a sealed file.
    fn find(from: &Path, home: &Home, args: &DeviceArgs) -> Result<Option<Exported>, Failure> {
        let text = from.to_string_lossy();
        if text.starts_with("http://") {
            return Err(Failure::usage("--from takes https addresses only")
                .hint("the path is a secret: it must not travel in the clear"));
        }
        if let Some(rest) = text.strip_prefix("https://") {
            let path = rest.trim_end_matches('/');
            let path = path.strip_suffix("/index").unwrap_or(path);
            return match path.split_once('/') {
                Some((host, capability)) if !capability.is_empty() && !capability.contains('/') => {
                    Ok(Some(Exported {
                        files: Box::new(client(&format!("https://{host}"), home, args)?),
                        capability: capability.to_owned(),
                    }))
                }
                _ => Err(Failure::usage("--from: the address names no exported release")
                    .hint("write https://HOST:PORT/CAPABILITY/, with the folder of `airseal export static` at the server's root")),
            };
        }
        let folder = match from.file_name() {
            Some(name) if name == "index" => from.parent().unwrap_or(from),
            _ => from,
        };
        let name = folder.file_name().and_then(|name| name.to_str());
        let (Some(capability), Some(tree)) = (name, folder.parent()) else {
            return Ok(None);
        };
        if !folder.join("index").is_file() {
            return Ok(None);
        }
        Ok(Some(Exported {
            files: Box::new(Folder(tree.to_owned())),
            capability: capability.to_owned(),
        }))
    }
}

struct FaultyInput {
    reader: Box<dyn Read>,
    faults: FaultTransport,
}

impl Read for FaultyInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.faults.read(&mut self.reader, buffer)
    }
}

/// Reads `--faults`: a file, or the faults themselves.
///
/// # Errors
/// Usage or environment.
pub(super) fn faults(args: &DeviceArgs) -> Result<Option<FaultPlan>, Failure> {
    let Some(text) = &args.faults else {
        return Ok(None);
    };
    let is_words = text.contains('@') && !Path::new(text).exists();
    let plan = if !is_words {
        let text = fs::read_to_string(text)
            .map_err(|error| Failure::io(format_args!("can't read {text}"), &error))?;
        FaultPlan::parse(&text)
    } else {
        FaultPlan::parse(&text.replace(',', "\n"))
    };
    plan.map(Some).map_err(Failure::usage)
}

/// What a percentage means when nobody knows the length: 1 MiB.
const FAULT_TOTAL: u64 = 1 << 20;
