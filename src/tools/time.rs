//! Parses dates into Kafka timestamps: milliseconds since 1970, UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in milliseconds.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Parses milliseconds, or `YYYY-MM-DD[THH:MM[:SS[.mmm]]][Z]`.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    parse_date(text).ok_or_else(|| {
        format!("{text:?} is neither milliseconds since 1970 nor a time such as 2026-08-01T09:30:00Z (UTC)")
    })
}

fn parse_date(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !(0..=9999).contains(&year) {
        return None;
    }
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let (hour, minute, second) = match numbers(time, ':')?[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 3 {
        return None;
    }
    let ms = numbers(&format!("{fraction:0<3}"), '.')?[0];
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + ms)
}

fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    let number = |part: &str| if part.bytes().all(|c| c.is_ascii_digit()) { part.parse().ok() } else { None };
    text.split(separator).map(number).collect()
}

/// Days in the proleptic Gregorian calendar. The year starts in March here, so that the leap day is its last day.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year;
    days - 719_468
}

/// A time as `YYYY-MM-DDTHH:MM:SSZ`.
pub fn format_utc(ms: i64) -> String {
    let seconds = ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let mut year = 1970 + days.div_euclid(366);
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rfind(|month| days_since_1970(year, *month, 1) <= days).unwrap_or(1);
    let day = days - days_since_1970(year, month, 1) + 1;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_time_parses_to_the_same_time() {
        for text in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2026-12-31T12:00:01Z", "2100-03-01T00:00:00Z"] {
            assert_eq!(format_utc(parse_ms(text).expect("a time")), text);
        }
    }

    #[test]
    fn timestamps_and_dates_are_parsed() {
        for (text, ms) in [
            ("0", 0),
            ("1700000000123", 1_700_000_000_123),
            ("1970-01-01", 0),
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14 22:13:20.5", 1_700_000_000_500),
            ("2024-02-29T12:00Z", 1_709_208_000_000),
            ("2000-03-01", 951_868_800_000),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "yesterday", "2024-13-01", "2024-01", "2024-01-01T25:00", "2024-01-01T", "2024-+1-01", "-"] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
