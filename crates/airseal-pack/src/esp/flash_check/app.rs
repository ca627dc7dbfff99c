//! The last part of the boot: an application, and what bootloader and eFuses ask of it.

use airseal_esp::image::Descriptor;
use airseal_esp::otadata::BootSlot;
use airseal_esp::partition::Partition;
use airseal_esp::{Image, memory};

use super::RollbackKind;
use super::play::{Play, examine};
use crate::Error;
use crate::esp::chip_state::FusedSecureBoot;
use crate::esp::dump::View;
use crate::esp::signature_check::SignatureCheck;
use crate::esp::signatures_v1::BootKeysV1;

impl Play<'_> {
    /// The project and version of the application, if it can be started.
    pub(super) fn app(
        &mut self,
        row: &Partition,
        slot: BootSlot,
    ) -> Result<Option<Option<String>>, Error> {
        let chip = self.check.chip;
        let offset = u64::from(row.offset);
        let view = self.view(offset, u64::from(row.size));
        let part = format!("{slot} ({})", row.label);
        let image = match examine(view)? {
            Err(fault) => Err(self.explain_image(view, &fault)?),
            Ok((_, Some(fault))) => Err(fault.to_string()),
            Ok((image, None)) if image.chip != chip => Err(format!(
                "chip_id at offset 12 says {}, not {chip}",
                image.chip
            )),
            Ok((image, None)) => self.startable(&image, offset).map(|()| image),
        };
        let image = match image {
            Ok(image) => image,
            Err(why) => {
                self.stop(&part, offset, why);
                return Ok(None);
            }
        };
        let name = image
            .app()
            .map(|app| format!("{} {}", app.project_name, app.version));
        if name.is_none() {
            self.verdict
                .warnings
                .push(format!("{slot}: the image has no application descriptor"));
        }
        if image.hash.is_none() {
            self.verdict.warnings.push(format!(
                "{slot}: the image has no hash, damage may go unnoticed"
            ));
        }
        match self.signature(view, &image, false)? {
            Err(why) => {
                self.stop(&part, offset, why);
                Ok(None)
            }
            Ok(signed) => {
                let shown = name.as_deref().unwrap_or("an image without a descriptor");
                self.step(
                    &part,
                    offset,
                    format!("{shown}, {} bytes{signed}", image.len),
                );
                Ok(Some(name))
            }
        }
    }

    /// What the bootloader asks of an application beside that it is whole and signed.
    fn startable(&self, image: &Image, offset: u64) -> Result<(), String> {
        if matches!(image.descriptor, Descriptor::Bootloader(_)) {
            return Err("is a second-stage bootloader, not an application".to_owned());
        }
        if let Some(efuses) = self.check.efuses {
            let header = &image.header;
            let max = Some(header.max_chip_rev_full);
            efuses.check_chip_revision(header.min_chip_rev_full, max)?;
        }
        if let Some(app) = image.app() {
            if app.mmu_page_log2 != 0 && !self.check.chip.maps_page(app.mmu_page_log2) {
                return Err(format!(
                    "mmu_page_size in the descriptor is 2^{}, which {} can't map",
                    app.mmu_page_log2, self.check.chip
                ));
            }
            if let Some(efuses) = self.check.efuses {
                efuses.check_block_revision(app.min_efuse_block_rev, app.max_efuse_block_rev)?;
            }
        }
        if let RollbackKind::Anti(efuse) = self.check.rollback {
            let version = image.app().map(|app| app.secure_version);
            let version = version.ok_or(
                "has no application descriptor, and anti-rollback looks for the secure version there",
            )?;
            if version < efuse {
                return Err(format!(
                    "its secure version is {version}, the eFuses ask for {efuse}"
                ));
            }
        }
        memory::check_load(image, offset, self.bootloader.as_ref())
            .map_err(|fault| fault.to_string())
    }

    pub(super) fn signature(
        &self,
        view: View<'_>,
        image: &Image,
        bootloader: bool,
    ) -> Result<Result<String, String>, Error> {
        let fused = self
            .fused
            .as_ref()
            .map(|fused| fused as &dyn SignatureCheck);
        let off = self
            .check
            .efuses
            .is_some_and(|efuses| efuses.secure_boot == FusedSecureBoot::Off);
        let v1 = BootKeysV1::default();
        let given = self.check.signatures.filter(|_| !off);
        let unchecked = self
            .check
            .efuses
            .filter(|efuses| efuses.secure_boot == FusedSecureBoot::V1)
            .map(|_| &v1 as &dyn SignatureCheck);
        let Some(signatures) = fused.or(given).or(unchecked) else {
            return Ok(Ok(String::new()));
        };
        let found = if bootloader {
            let before = self.view(0, view.offset());
            signatures.check_bootloader(view, image, before)?
        } else {
            signatures.check(view, image.len)?
        };
        Ok(found.map(|signed| format!(", {signed}")))
    }
}
