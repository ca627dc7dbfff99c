//! Dates on the command line and in output, always UTC.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Reads `2027-01-31` (its first second), `2027-01-31T12:00:00`, both UTC, or a timestamp with an offset.
///
/// # Errors
/// A sentence for clap.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let timestamp = if let Ok(timestamp) = text.parse::<Timestamp>() {
        timestamp
    } else {
        let civil = match text.parse::<Date>() {
            Ok(date) if !text.contains('T') => date.at(0, 0, 0, 0),
            _ => text.parse::<DateTime>().map_err(|_| EXPECTED.to_owned())?,
        };
        civil
            .to_zoned(TimeZone::UTC)
            .map_err(|_| EXPECTED.to_owned())?
            .timestamp()
    };
    u64::try_from(timestamp.as_second()).map_err(|_| "dates before 1970 can't be stored".to_owned())
}

/// `2027-01-31T12:00:00Z`, or the bare number if it is no date.
pub(crate) fn show(unix_seconds: u64) -> String {
    i64::try_from(unix_seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(
            || unix_seconds.to_string(),
            |timestamp| timestamp.to_string(),
        )
}

/// The current time in unix seconds; `SOURCE_DATE_EPOCH` replaces it, for builds that must repeat.
pub(crate) fn now() -> u64 {
    let fixed = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    fixed.unwrap_or_else(|| u64::try_from(Timestamp::now().as_second()).unwrap_or(0))
}

const EXPECTED: &str = "a date is wanted, such as 2027-01-31 or 2027-01-31T12:00:00Z";

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        reason = "a test may unwrap, and documents itself by its name"
    )]
    use super::*;

    #[test]
    fn dates_are_utc() {
        assert_eq!(parse("1970-01-02").unwrap(), 86_400);
        assert_eq!(parse("1970-01-01T01:00:00").unwrap(), 3600);
        assert_eq!(parse("1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert_eq!(show(86_400), "1970-01-02T00:00:00Z");
        assert!(parse("1969-12-31").unwrap_err().contains("1970"));
        assert!(parse("soon").unwrap_err().contains("2027-01-31"));
    }
}
