//! What secure boot asks of an image, whichever version checks it.

use airseal_esp::Image;

use super::dump::View;
use crate::Error;

/// Secure boot.
pub trait SignatureCheck {
    /// Checks the signature of an image of `image_len` bytes at the start of `view`.
    ///
    /// # Errors
    /// `Io` if the dump can't be read. The inner result says why the signature does not count.
    fn check(&self, view: View<'_>, image_len: u64) -> Result<Result<String, String>, Error>;

    /// Checks the bootloader at the start of `view`; `before` is what lies before it, from address 0.
    ///
    /// # Errors
    /// As [`SignatureCheck::check`].
    fn check_bootloader(
        &self,
        view: View<'_>,
        image: &Image,
        before: View<'_>,
    ) -> Result<Result<String, String>, Error> {
        let _ = before;
        self.check(view, image.len)
    }
}
