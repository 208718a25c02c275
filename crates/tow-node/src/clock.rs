//! Times as people and files have them: RFC 3339 in UTC. Only the arithmetic; nothing here asks what
//! time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970; times before it count as 0.
pub fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The time so many seconds after 1970, at most the end of the year 9999.
pub fn from_unix_secs(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs.min(SECS_MAX))
}

/// `time` to the second, as `2026-11-22T15:04:05Z`.
pub fn to_rfc3339(time: SystemTime) -> String {
    format!("{}Z", date_and_time(unix_secs(time)))
}

/// `time` to the millisecond, as `2026-11-22T15:04:05.678Z`.
pub fn to_rfc3339_millis(time: SystemTime) -> String {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    format!("{}.{millis:03}Z", date_and_time(unix_secs(time)))
}

/// The time that `to_rfc3339` wrote. Only UTC, to the second: our own files have no other form.
pub fn from_rfc3339(text: &str) -> Option<SystemTime> {
    let digits = text.as_bytes();
    let is_well_formed = digits.len() == FORM.len()
        && digits.iter().zip(FORM).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        });
    if !is_well_formed {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let secs =
        days_from_civil(year, month, day)? * SECS_PER_DAY + hour * 3600 + minute * 60 + second;
    Some(from_unix_secs(secs))
}

fn date_and_time(secs: u64) -> String {
    let secs = secs.min(SECS_MAX);
    let (year, month, day) = civil_from_days(secs / SECS_PER_DAY);
    let second = secs % SECS_PER_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil_from_days(mut days: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while days >= days_in_year(year) {
        days -= days_in_year(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_in_month(year, month) {
        days -= days_in_month(year, month);
        month += 1;
    }
    (year, month, days + 1)
}

fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let years: u64 = (1970..year).map(days_in_year).sum();
    let months: u64 = (1..month).map(|month| days_in_month(year, month)).sum();
    Some(years + months + day - 1)
}

fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// A time in a TOML file: use with `#[serde(with = "clock::rfc3339")]`.
pub(crate) mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::to_rfc3339(*time))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        super::from_rfc3339(&text)
            .ok_or_else(|| de::Error::custom("expected a time like 2026-11-22T15:04:05Z"))
    }

    /// The same for a time that may be missing.
    pub(crate) mod option {
        use super::{Deserialize, Deserializer, Serializer, SystemTime};

        pub(crate) fn serialize<S: Serializer>(
            time: &Option<SystemTime>,
            to: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, to),
                None => to.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            from: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            #[derive(Deserialize)]
            struct Time(#[serde(with = "super")] SystemTime);
            Ok(Option::<Time>::deserialize(from)?.map(|time| time.0))
        }
    }
}

const FORM: &[u8] = b"dddd-dd-ddTdd:dd:ddZ";
const SECS_PER_DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z.
const SECS_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        // Computed with `date -u -d @N`.
        for (secs, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_359_845, "2026-11-22T15:04:05Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (SECS_MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(to_rfc3339(from_unix_secs(secs)), text);
            assert_eq!(from_rfc3339(text), Some(from_unix_secs(secs)), "{text}");
        }
        let time = from_unix_secs(1) + Duration::from_millis(45);
        assert_eq!(to_rfc3339_millis(time), "1970-01-01T00:00:01.045Z");
    }

    #[test]
    fn a_time_that_is_none_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22 15:04:05Z",
            "2026-11-22T15:04:05+01:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "２026-11-22T15:04:0Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
    }
}
