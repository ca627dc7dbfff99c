//! The files that are written to one board, in its work folder.

use airseal_pack::Error;

use super::{Job, Station};
use crate::batch::RegionPlan;
use crate::line::bench::FlashFile;
use crate::regions::{device_bytes, file_name};

impl Station<'_> {
    /// A file for each region; made once for each board on the bench.
    pub(super) fn regions(&self, job: &mut Job<'_, '_>) -> Result<Vec<FlashFile>, Error> {
        let everything = |_: &RegionPlan| true;
        self.some_regions(job, &everything)
    }

    /// Those that `wanted` takes.
    pub(super) fn some_regions(
        &self,
        job: &mut Job<'_, '_>,
        wanted: &dyn Fn(&RegionPlan) -> bool,
    ) -> Result<Vec<FlashFile>, Error> {
        if let Some(files) = &job.files {
            return Ok(files.clone());
        }
        self.secrets(job)?;
        let secrets = job.secrets.take().unwrap_or_default();
        let regions = self
            .description
            .regions
            .iter()
            .filter(|region| wanted(region));
        let files: Result<Vec<FlashFile>, Error> = regions
            .map(|region| {
                let bytes = device_bytes(self.chip, region, &secrets, |file, sha256| {
                    self.common(file, sha256)
                })?;
                Ok(FlashFile {
                    address: region.address,
                    path: job.work.replace(&file_name(region), &bytes)?,
                })
            })
            .collect();
        job.secrets = Some(secrets);
        let files = files?;
        job.files = Some(files.clone());
        Ok(files)
    }
}
