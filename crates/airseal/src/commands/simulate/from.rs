use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use airseal_pack::recognise::{FileKind, HEAD_LEN, Purpose, recognise};
use airseal_sim::fault::FaultPlan;
use airseal_sim::home::Home;
use airseal_sim::source::SealedFile;
use airseal_sim::static_files::{Exported, Folder};

use super::args::DeviceArgs;
use super::client;
use crate::failure::Failure;

/// A sealed file, which must be there. What is a known kind of another file does not get as far as the device.
///
/// # Errors
/// Environment, or refused for a directory or another kind of file.
pub(super) fn sealed_file(path: &Path) -> Result<SealedFile, Failure> {
    if path.as_os_str() == "-" {
        return Ok(SealedFile::standard_input());
    }
    let failed = |error| Failure::io(format_args!("can't read {}", path.display()), &error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(Failure::refused(format_args!(
            "{}: is a directory, neither a sealed file nor DIR/CAPABILITY of an exported folder",
            path.display()
        )));
    }
    let mut head = Vec::new();
    if metadata.is_file() {
        let mut start = file.take(HEAD_LEN as u64);
        start.read_to_end(&mut head).map_err(failed)?;
    }
    match recognise(&head) {
        None | Some(FileKind::Bundle | FileKind::Encrypted) => {}
        Some(kind) => {
            let what = format_args!("{}: is {kind}, not a sealed file", path.display());
            return Err(Failure::refused(what).hint(kind.remedy(Purpose::ReadBundle)));
        }
    }
    Ok(SealedFile::new(path.to_owned()))
}

/// `DIR/CAPABILITY` or `https://HOST/CAPABILITY`, with or without `/index`; none for a sealed file.
pub(super) fn exported(
    from: &Path,
    home: &Home,
    args: &DeviceArgs,
) -> Result<Option<Exported>, Failure> {
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
                let files = client(&format!("https://{host}"), home, args)?;
                Ok(Some(Exported::new(Box::new(files), capability.to_owned())))
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
    let files = Folder(tree.to_owned());
    Ok(Some(Exported::new(Box::new(files), capability.to_owned())))
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
