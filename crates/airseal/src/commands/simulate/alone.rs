use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use airseal_sim::SimDevice;
use airseal_sim::agent::{Cuts, Event};
use airseal_sim::fault::{FaultPlan, FaultTransport};
use airseal_sim::flash::{Cut, PowerCut, Torn};
use airseal_sim::random::Noise;
use airseal_update::Refusal;
use airseal_update::boot::ResetReason;

use super::DeviceArgs;
use super::report::{Report, refused};
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
    args: &DeviceArgs,
    report: &mut Report,
    ui: &Ui,
) -> Result<(SimDevice, Result<(), Failure>), Failure> {
    power_on(&mut device).map_err(|refusal| refused(&refusal))?;
    report.outcome = "booted".to_owned();
    let Some(from) = from else {
        return Ok((device, Ok(())));
    };
    let bar = ui.progress("installing", 1);
    let mut input = Input::open(from, args)?;
    let taken = take(
        &mut device,
        &mut input,
        args.cut_power_at.as_ref(),
        &mut bar.setter(),
        report,
    )?;
    let result = match taken.and_then(|()| try_new_image(&mut device, !args.fail_self_test)) {
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
        let result = device.update_from(&mut input.reader, input.len, progress);
        interrupt::check()?;
        if device.flash().is_off() {
            let operation = device.flash().operations();
            if let Err(refusal) = power_on(device) {
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

fn power_on(device: &mut SimDevice) -> Result<(), Refusal> {
    device.flash_mut().power_on();
    let selection = device.boot(ResetReason::Power)?;
    if selection.on_trial {
        device.confirm()?;
    }
    device.heal().map(|_| ())
}

fn try_new_image(device: &mut SimDevice, passes: bool) -> Result<bool, Refusal> {
    device.boot(ResetReason::Restart)?;
    if passes {
        device.confirm()?;
    } else {
        device.revert()?;
        device.boot(ResetReason::Restart)?;
    }
    Ok(passes)
}

/// A sealed file as a byte stream, with faults in it.
struct Input {
    reader: Box<dyn Read>,
    len: Option<u64>,
    path: PathBuf,
    plan: Option<FaultPlan>,
    is_read: bool,
    is_faulty: bool,
}

impl Input {
    fn open(path: &Path, args: &DeviceArgs) -> Result<Input, Failure> {
        let mut input = Input {
            reader: Box::new(io::empty()),
            len: None,
            path: path.to_owned(),
            plan: faults(args)?,
            is_read: false,
            is_faulty: false,
        };
        input.rewind()?;
        Ok(input)
    }

    fn rewind(&mut self) -> Result<(), Failure> {
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
                "{}: is a directory, not a sealed file",
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
    let plan = if Path::new(text).is_file() {
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
