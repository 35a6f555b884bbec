//! Series of Prometheus: matchers of labels, and selectors with places for them. Only their outer form is read here; the
//! server has the last word on the rest, and preflight asks it.

use super::{Format, Input, Mistake, text_of};

/// Matchers of labels: `NAME="VALUE"`, joined by commas; `=~`, `!=` and `!~` as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matchers(pub String);

impl Format for Matchers {
    const NAME: &'static str = "label-matchers";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "upstream=\"blue\"";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "matchers of labels", Self::EXAMPLE)?.trim();
        let mut rest = text;
        loop {
            rest = matcher(rest).ok_or_else(|| {
                Mistake::new(
                    format!("`{text}` are no matchers of labels"),
                    format!("write them as in a query, without the braces: `{}`", Self::EXAMPLE),
                )
            })?;
            match rest.strip_prefix(',') {
                Some(more) => rest = more.trim_start(),
                None if rest.is_empty() => return Ok(Self(text.to_owned())),
                None => rest = "no matcher",
            }
        }
    }
}

/// What follows the matcher at the beginning of `text`, without the space after it.
fn matcher(text: &str) -> Option<&str> {
    let length = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|length| *length > 0)?;
    let (name, rest) = text.split_at(length);
    let rest = rest.trim_start();
    let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| rest.starts_with(operator))?;
    let value = rest[operator.len()..].trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = value.find(|c: char| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    (!name.starts_with(|c: char| c.is_ascii_digit())).then(|| value[end + 1..].trim_start())
}

/// A selector of series: `NAME{MATCHERS}`, with `{side}` and `{class}` where matchers are put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(pub String);

impl Format for Selector {
    const NAME: &'static str = "series-selector";
    const NUMBERS: bool = false;
    const EXAMPLE: &'static str = "http_requests_total{code=\"2xx\",{side}}";

    fn read(input: Input<'_>) -> Result<Self, Mistake> {
        let text = text_of(input, "a selector of series", Self::EXAMPLE)?.trim();
        let told = |what: String| Mistake::new(what, format!("write it as `{}`", Self::EXAMPLE));
        if !text.contains("{side}") {
            return Err(told(format!("`{text}` has no `{{side}}`, so both sides would be counted by the same series")));
        }
        // A function, a range or arithmetic stands outside of the braces.
        let name = text.find('{').map_or(text, |brace| &text[..brace]);
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':') && text.ends_with('}');
        if !plain {
            return Err(told(format!(
                "`{text}` is not a selector alone: increases are worked out from the samples themselves"
            )));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proves what is taken for matchers and selectors, and that no function, range or torn text is.
    #[test]
    fn only_plain_series_are_selected() {
        let matchers = |text: &str| Matchers::read(Input::Text(text)).is_ok();
        for fine in ["a=\"b\"", "a=~\"b|c\", d!=\"\\\"}\"", "a = \"{x}\""] {
            assert!(matchers(fine), "{fine}");
        }
        for wrong in ["", "a=b", "a=\"b", "a=\"b\" c=\"d\"", "{a=\"b\"}", "1a=\"b\"", "a=\"b\",", "a==\"b\""] {
            assert!(!matchers(wrong), "{wrong}");
        }
        let selector = |text: &str| Selector::read(Input::Text(text)).is_ok();
        for fine in ["x{{side}}", "x:y{code=\"2xx\",{side},{class}}", "{__name__=~\"x.+\",{side}}"] {
            assert!(selector(fine), "{fine}");
        }
        for wrong in [
            "x{code=\"2xx\"}",
            "rate(x{{side}}[1m])",
            "x{{side}}[1m]",
            "sum(x{{side}})",
            "x{{side}} * 2",
            "2 * x{{side}}",
        ] {
            assert!(!selector(wrong), "{wrong}");
        }
    }
}
