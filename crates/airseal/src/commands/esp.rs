use crate::failure::Failure;
use crate::ui::Ui;

mod efuse;
pub(crate) mod encrypted_img;
mod flash_check;
mod flash_crypt;
mod info;
mod line;
mod nvs;
mod otadata;
mod partitions;
mod provision;
pub(crate) mod shared;
mod sign;

/// Espressif's formats: images, tables, flash encryption, secure boot, eFuses
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(alias = "image-info")]
    Info(info::Args),
    FlashCheck(flash_check::Args),
    Partitions(partitions::Args),
    FlashEncrypt(flash_crypt::EncryptArgs),
    FlashDecrypt(flash_crypt::DecryptArgs),
    Otadata(otadata::Args),
    Nvs(nvs::Args),
    Sign(sign::SignArgs),
    VerifySignature(sign::VerifyArgs),
    KeyDigest(sign::DigestArgs),
    SignRequest(sign::RequestArgs),
    AttachSignature(sign::AttachArgs),
    EncryptedImg(encrypted_img::Args),
    Efuse(efuse::Args),
    Provision(provision::Args),
    Line(line::Args),
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<(), Failure> {
    match &args.command {
        Command::Info(args) => info::run(args, ui),
        Command::FlashCheck(args) => flash_check::run(args, ui),
        Command::FlashEncrypt(args) => flash_crypt::encrypt(args, ui),
        Command::FlashDecrypt(args) => flash_crypt::decrypt(args, ui),
        Command::Partitions(args) => partitions::run(args, ui),
        Command::Otadata(args) => otadata::run(args, ui),
        Command::Nvs(args) => nvs::run(args, ui),
        Command::Sign(args) => sign::sign(args, ui),
        Command::VerifySignature(args) => sign::verify(args, ui),
        Command::KeyDigest(args) => sign::key_digest(args, ui),
        Command::SignRequest(args) => sign::request(args, ui),
        Command::AttachSignature(args) => sign::attach(args, ui),
        Command::EncryptedImg(args) => encrypted_img::run(args, ui),
        Command::Efuse(args) => efuse::run(args, ui),
        Command::Provision(args) => provision::run(args, ui),
        Command::Line(args) => line::run(args, ui),
    }
}
