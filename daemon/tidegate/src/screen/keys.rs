//! What the keys do: nothing that moves traffic happens on a single keystroke.

use cutover::Verb;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// The longest reason that can be typed.
const REASON_CHARS_MAX: usize = 200;

/// What a keystroke asks of whoever shows the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Leave the screen; the cutover goes on.
    Quit,
    /// Give this order.
    Order {
        /// Which.
        verb: Verb,
        /// Why, as typed.
        reason: String,
    },
}

/// What has been typed so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keys {
    asking: Option<Asking>,
}

#[derive(Clone, Debug, PartialEq)]
enum Asking {
    /// The revert's price is shown; a second `R` gives the order.
    Revert,
    /// A reason is being typed.
    Reason { verb: Verb, typed: String },
}

impl Keys {
    /// Takes a keystroke; the answer is what it asks for, if anything.
    pub fn press(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c' | 'C')) {
            return Some(Action::Quit);
        }
        match self.asking.take() {
            None => self.begin(key.code),
            Some(Asking::Revert) => matches!(key.code, KeyCode::Char('r' | 'R'))
                .then(|| Action::Order { verb: Verb::Revert, reason: "ordered on the screen".to_owned() }),
            Some(Asking::Reason { verb, mut typed }) => {
                match key.code {
                    KeyCode::Enter if !typed.trim().is_empty() => {
                        return Some(Action::Order { verb, reason: typed.trim().to_owned() });
                    }
                    KeyCode::Esc => return None,
                    KeyCode::Backspace => drop(typed.pop()),
                    KeyCode::Char(char) if typed.chars().count() < REASON_CHARS_MAX => typed.push(char),
                    _ => {}
                }
                self.asking = Some(Asking::Reason { verb, typed });
                None
            }
        }
    }

    fn begin(&mut self, code: KeyCode) -> Option<Action> {
        let reason = |verb| Some(Asking::Reason { verb, typed: String::new() });
        self.asking = match code {
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Some(Action::Quit),
            KeyCode::Char('r' | 'R') => Some(Asking::Revert),
            KeyCode::Char('a' | 'A') => reason(Verb::Advance),
            KeyCode::Char('h' | 'H') => reason(Verb::Hold),
            KeyCode::Char('p' | 'P') => reason(Verb::Pause),
            KeyCode::Char('u' | 'U') => reason(Verb::Resume { adopt_policy: None }),
            _ => None,
        };
        None
    }

    /// The line at the bottom; `price` is what a revert costs, in a sentence.
    pub fn line(&self, price: &str) -> String {
        match &self.asking {
            None => "[R]evert  [H]old  [P]ause  res[U]me  [A]dvance  [Q]uit".to_owned(),
            Some(Asking::Revert) => format!("REVERT NOW? R again reverts, any other key does nothing; {price}"),
            Some(Asking::Reason { verb, typed }) => {
                let word = word(verb);
                format!("{word}, because: {typed}_   (Enter sends, Esc leaves it)")
            }
        }
    }
}

/// An order's word, as on the command line.
pub fn word(verb: &Verb) -> &'static str {
    match verb {
        Verb::Advance => "advance",
        Verb::Hold => "hold",
        Verb::Pause => "pause",
        Verb::Resume { .. } => "resume",
        Verb::Start => "start",
        Verb::Revert => "revert",
        Verb::Abort => "abort",
        Verb::Close => "close",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &mut Keys, code: KeyCode) -> Option<Action> {
        keys.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Proves that a revert takes two keystrokes, that its price stands between them, and that any other key ends it.
    #[test]
    fn a_revert_takes_two_keystrokes_and_says_its_price_first() {
        let mut keys = Keys::default();
        assert_eq!(press(&mut keys, KeyCode::Char('R')), None);
        assert!(keys.line("a revert is lossy: 12 writes").contains("a revert is lossy: 12 writes"));
        assert_eq!(press(&mut keys, KeyCode::Char('x')), None);
        assert_eq!(keys, Keys::default());
        assert_eq!(press(&mut keys, KeyCode::Char('r')), None);
        let Some(Action::Order { verb: Verb::Revert, .. }) = press(&mut keys, KeyCode::Char('r')) else {
            panic!("the second R orders the revert")
        };
    }

    /// Proves that an order other than a revert is sent with the reason typed, and never without one.
    #[test]
    fn an_order_needs_a_reason() {
        let mut keys = Keys::default();
        press(&mut keys, KeyCode::Char('a'));
        assert_eq!(press(&mut keys, KeyCode::Enter), None);
        for char in "gate is opem".chars() {
            press(&mut keys, KeyCode::Char(char));
        }
        press(&mut keys, KeyCode::Backspace);
        press(&mut keys, KeyCode::Char('n'));
        assert!(keys.line("").contains("gate is open_"));
        assert_eq!(
            press(&mut keys, KeyCode::Enter),
            Some(Action::Order { verb: Verb::Advance, reason: "gate is open".to_owned() })
        );
        press(&mut keys, KeyCode::Char('h'));
        assert_eq!(press(&mut keys, KeyCode::Esc), None);
        assert_eq!(keys, Keys::default());
    }

    /// Proves that Ctrl-C leaves the screen even while a reason is typed.
    #[test]
    fn control_c_always_quits() {
        let mut keys = Keys::default();
        press(&mut keys, KeyCode::Char('p'));
        assert_eq!(keys.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Action::Quit));
    }
}
