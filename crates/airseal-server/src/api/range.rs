//! Which bytes of a payload a request asks for (RFC 9110 sections 13 and 14).

use axum::http::{HeaderMap, header};

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Selection {
    /// 200 with everything.
    Whole,
    /// 206 with `first..=last`.
    Part {
        /// Offset of the first byte.
        first: u64,
        /// Offset of the last byte.
        last: u64,
    },
    /// 304: the client has it.
    NotModified,
    /// 412: the client expects another payload.
    PreconditionFailed,
    /// 416: the range lies outside.
    NotSatisfiable,
}

/// Decides for a payload of `len` bytes whose strong entity tag is `etag`, quotes included.
///
/// Order of RFC 9110 section 13.2.2: If-Match, If-None-Match, then Range with If-Range. Payloads have no modification
/// date, so date conditions are ignored and a date in If-Range never matches. A Range in another unit, with a syntax
/// error or with several parts is ignored, as section 14.2 allows.
pub(crate) fn select(headers: &HeaderMap, is_get: bool, etag: &str, len: u64) -> Selection {
    if headers.contains_key(header::IF_MATCH) && !lists(headers, header::IF_MATCH, etag, false) {
        return Selection::PreconditionFailed;
    }
    if lists(headers, header::IF_NONE_MATCH, etag, true) {
        return Selection::NotModified;
    }
    if !is_get {
        return Selection::Whole;
    }
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else {
        return Selection::Whole;
    };
    if let Some(condition) = headers.get(header::IF_RANGE)
        && condition.as_bytes() != etag.as_bytes()
    {
        return Selection::Whole;
    }
    match range.to_str().ok().and_then(parse) {
        None => Selection::Whole,
        Some(Spec::From { first, .. }) if first >= len => Selection::NotSatisfiable,
        Some(Spec::From { first, last }) => Selection::Part {
            first,
            last: last.map_or(len - 1, |last| last.min(len - 1)),
        },
        Some(Spec::Suffix(wanted)) if wanted == 0 || len == 0 => Selection::NotSatisfiable,
        Some(Spec::Suffix(wanted)) => Selection::Part {
            first: len.saturating_sub(wanted),
            last: len - 1,
        },
    }
}

enum Spec {
    From { first: u64, last: Option<u64> },
    Suffix(u64),
}

fn parse(text: &str) -> Option<Spec> {
    let (unit, set) = text.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    if first.is_empty() {
        return Some(Spec::Suffix(number(last)?));
    }
    let first = number(first)?;
    let last = match last {
        "" => None,
        last => Some(number(last)?),
    };
    match last {
        Some(last) if last < first => None,
        _ => Some(Spec::From { first, last }),
    }
}

/// Digits only; a number beyond `u64` lies beyond every payload.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// Whether a list of entity tags names `etag`, or is `*`.
fn lists(headers: &HeaderMap, name: header::HeaderName, etag: &str, weak: bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag == etag || (weak && tag.strip_prefix("W/") == Some(etag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &str = "\"abc\"";

    fn of(headers: &[(header::HeaderName, &str)]) -> Selection {
        of_len(headers, 100)
    }

    fn of_len(headers: &[(header::HeaderName, &str)], len: u64) -> Selection {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value.parse().expect("header value"));
        }
        select(&map, true, ETAG, len)
    }

    fn part(first: u64, last: u64) -> Selection {
        Selection::Part { first, last }
    }

    #[test]
    fn single_ranges() {
        let cases = [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-", part(0, 99)),
            ("bytes=10-19", part(10, 19)),
            ("bytes=99-", part(99, 99)),
            ("bytes=90-1000", part(90, 99)),
            ("bytes=-1", part(99, 99)),
            ("bytes=-100", part(0, 99)),
            ("bytes=-5000", part(0, 99)),
            ("BYTES=1-2", part(1, 2)),
            ("bytes=0-99999999999999999999999", part(0, 99)),
        ];
        for (range, expected) in cases {
            assert_eq!(of(&[(header::RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn ranges_outside_are_not_satisfiable() {
        for range in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            let selection = of(&[(header::RANGE, range)]);
            assert_eq!(selection, Selection::NotSatisfiable, "{range}");
        }
        assert_eq!(
            of_len(&[(header::RANGE, "bytes=0-")], 0),
            Selection::NotSatisfiable
        );
    }

    #[test]
    fn what_is_no_single_byte_range_is_ignored() {
        for range in [
            "bytes=5-4",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1",
            "bytes=-",
            "bytes=0-1,5-6",
            "chunks=0-1",
            "0-1",
            "bytes= 0 - 1",
        ] {
            assert_eq!(of(&[(header::RANGE, range)]), Selection::Whole, "{range}");
        }
        let twice = [(header::RANGE, "bytes=0-1"), (header::RANGE, "bytes=2-3")];
        assert_eq!(of(&twice), Selection::Whole);
    }

    #[test]
    fn if_range_takes_the_part_only_of_the_same_payload() {
        let with = |tag| of(&[(header::RANGE, "bytes=1-2"), (header::IF_RANGE, tag)]);
        assert_eq!(with(ETAG), part(1, 2));
        assert_eq!(with("\"other\""), Selection::Whole);
        assert_eq!(with("W/\"abc\""), Selection::Whole);
        assert_eq!(with("Wed, 21 Oct 2026 07:28:00 GMT"), Selection::Whole);
    }

    #[test]
    fn preconditions_come_before_the_range() {
        let range = || (header::RANGE, "bytes=500-");
        assert_eq!(
            of(&[(header::IF_MATCH, "\"x\""), range()]),
            Selection::PreconditionFailed
        );
        assert_eq!(
            of(&[(header::IF_MATCH, "W/\"abc\"")]),
            Selection::PreconditionFailed
        );
        assert_eq!(
            of(&[(header::IF_MATCH, "\"x\", \"abc\"")]),
            Selection::Whole
        );
        assert_eq!(of(&[(header::IF_MATCH, "*")]), Selection::Whole);
        assert_eq!(
            of(&[(header::IF_NONE_MATCH, "W/\"abc\""), range()]),
            Selection::NotModified
        );
        assert_eq!(of(&[(header::IF_NONE_MATCH, "*")]), Selection::NotModified);
        assert_eq!(of(&[(header::IF_NONE_MATCH, "\"x\"")]), Selection::Whole);
    }

    #[test]
    fn head_ignores_the_range() {
        let mut map = HeaderMap::new();
        map.insert(header::RANGE, "bytes=1-2".parse().expect("value"));
        assert_eq!(select(&map, false, ETAG, 100), Selection::Whole);
    }
}
