//! How much work choosing and fine-tuning may be.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Wall-clock time for trials and fine-tuning together, written `90s`, `10m` or `1h`.
///
/// How much work fits into it is measured once and kept in the state of the run, so resuming is still exact; but another
/// run, on a faster or a busier machine, may come to another result. Without a budget the work follows from the data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Budget {
    /// Seconds, above 0.
    seconds: f64,
}

impl Budget {
    /// Seconds, above 0.
    pub fn seconds(self) -> f64 {
        self.seconds
    }
}

impl FromStr for Budget {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Recipe {
            reason: format!("budget `{text}` is not a time"),
            help: "write --budget 90s, --budget 10m or --budget 1h".to_owned(),
        };
        let unit = text.chars().last().ok_or_else(wrong)?;
        let scale = match unit {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            _ => return Err(wrong()),
        };
        let number: f64 = text[..text.len() - 1].trim().parse().map_err(|_| wrong())?;
        let seconds = number * scale;
        if seconds > 0.0 && seconds.is_finite() { Ok(Self { seconds }) } else { Err(wrong()) }
    }
}

impl TryFrom<String> for Budget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: Error| error.to_string())
    }
}

impl From<Budget> for String {
    fn from(budget: Budget) -> Self {
        match budget.seconds {
            s if s % 3600.0 == 0.0 => format!("{}h", s / 3600.0),
            s if s % 60.0 == 0.0 => format!("{}m", s / 60.0),
            s => format!("{s}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_they_are_written() {
        for text in ["90s", "10m", "1h", "0.5s"] {
            assert_eq!(String::from(text.parse::<Budget>().unwrap()), text);
        }
        assert_eq!("1.5m".parse::<Budget>().unwrap().seconds(), 90.0);
        for text in ["", "m", "10", "-1m", "0s", "infh", "10 parsecs", "10µ"] {
            assert!(text.parse::<Budget>().is_err(), "{text}");
        }
    }
}
