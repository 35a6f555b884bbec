//! What the terminal can show: signs beyond ASCII, and colour.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;

/// What may be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Lines, blocks and other signs beyond ASCII.
    pub signs: Signs,
    /// Whether colours are wanted; every state is a word as well.
    pub colour: bool,
}

/// Which signs a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// All of UTF-8.
    Unicode,
    /// Only ASCII.
    Ascii,
}

impl Look {
    /// Plain text: all signs, no colour.
    pub const PLAIN: Self = Self { signs: Signs::Unicode, colour: false };

    /// What the variables of an environment say: the locale names the signs, `NO_COLOR` (see no-color.org) forbids
    /// colour when it is not empty.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        // The order of POSIX: the first one that is set decides.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let unicode = locale.contains("utf-8") || locale.contains("utf8");
        Self { signs: if unicode { Signs::Unicode } else { Signs::Ascii }, colour: set("NO_COLOR").is_none() }
    }

    /// What this process's environment says.
    pub fn of_process() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    /// Takes out of a drawn area what must not be shown.
    pub(super) fn apply(self, area: Rect, buffer: &mut Buffer) {
        for row in area.top()..area.bottom() {
            for column in area.left()..area.right() {
                let cell = &mut buffer[(column, row)];
                if !self.colour {
                    (cell.fg, cell.bg) = (Color::Reset, Color::Reset);
                }
                if self.signs == Signs::Ascii
                    && let Some(sign) = cell.symbol().chars().next().filter(|sign| !sign.is_ascii())
                {
                    cell.set_char(ascii(sign));
                }
            }
        }
    }
}

/// The nearest sign of ASCII, as wide as the one it stands for.
pub(crate) fn ascii(sign: char) -> char {
    match sign {
        '─' | '–' | '—' => '-',
        '█' => '#',
        '░' | '·' => '.',
        '▁' => '_',
        '▂' => '.',
        '▃' => ':',
        '▄' => '-',
        '▅' => '=',
        '▆' => '+',
        '▇' => '*',
        '…' => '~',
        '×' => 'x',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Look {
        Look::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    /// Proves that the locale decides on the signs, in the order of POSIX, and that without one nothing but ASCII is
    /// drawn.
    #[test]
    fn the_locale_decides_on_the_signs() {
        assert_eq!(of(&[]).signs, Signs::Ascii);
        assert_eq!(of(&[("LANG", "en_US.UTF-8")]).signs, Signs::Unicode);
        assert_eq!(of(&[("LANG", "C.utf8"), ("LC_ALL", "")]).signs, Signs::Unicode);
        assert_eq!(of(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "C")]).signs, Signs::Ascii);
        assert_eq!(of(&[("LANG", "de_DE.ISO-8859-1")]).signs, Signs::Ascii);
    }

    /// Proves that `NO_COLOR` counts when it is set to anything but nothing.
    #[test]
    fn no_color_forbids_colour() {
        assert!(of(&[]).colour);
        assert!(of(&[("NO_COLOR", "")]).colour);
        assert!(!of(&[("NO_COLOR", "1")]).colour);
    }
}
